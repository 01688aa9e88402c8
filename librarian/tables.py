"""A library's index as tables: what is built from analyzed files, written to Parquet, read again and searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from librarian.analysis import AnalyzedFile
from librarian.chunks import chunk_ids

FILES = pa.schema(
    [
        ("path", pa.string()),
        ("blob_id", pa.string()),
        ("language", pa.string()),
        ("content", pa.large_binary()),  # as ingested, secrets masked; chunks are cut from it
        ("masked", pa.int32()),
        ("first_chunk", pa.int32()),
        ("chunks", pa.int32()),
        ("problem", pa.string()),
    ]
)
CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("file", pa.int32()),  # row of FILES
        ("name", pa.string()),
        ("qualified_name", pa.string()),
        ("chunk_type", pa.string()),
        ("start_line", pa.int32()),
        ("end_line", pa.int32()),
        ("start_byte", pa.int32()),
        ("end_byte", pa.int32()),
        ("owned", pa.list_(pa.field("element", pa.int32()))),  # start, end, start, end, …
        ("signature", pa.string()),
        ("docstring", pa.string()),
    ]
)
SYMBOLS = pa.schema(
    [
        ("name", pa.string()),
        ("qualified_name", pa.string()),
        ("kind", pa.string()),
        ("chunk", pa.int32()),  # row of CHUNKS
        ("start_line", pa.int32()),
        ("end_line", pa.int32()),
        ("declaration", pa.bool_()),
    ]
)
TERMS = pa.schema([("term", pa.string()), ("postings", pa.int64())])
"""Sorted by term; how many rows of POSTINGS it has, which come in the same order."""
POSTINGS = pa.schema([("chunk", pa.int32()), ("weight", pa.uint32())])
WINDOWS = pa.schema([("chunk", pa.int32())])
"""The chunk of each vector."""


@dataclass(frozen=True, slots=True)
class Tables:
    """One pyarrow table for each schema above."""

    files: pa.Table
    chunks: pa.Table
    symbols: pa.Table
    terms: pa.Table
    postings: pa.Table
    windows: pa.Table


def build_tables(files: Sequence[AnalyzedFile]) -> tuple[Tables, NDArray[np.float16]]:
    """The tables, and the vectors, float16 [windows, dim]; the same for the same files in any order."""
    files = sorted(files, key=lambda each: each.source.path)
    firsts = np.cumsum([0, *(len(each.chunked.chunks) for each in files)])
    terms, postings = _invert(files, firsts)
    tables = Tables(
        files=_files(files, firsts),
        chunks=_chunks(files),
        symbols=_symbols(files, firsts),
        terms=terms,
        postings=postings,
        windows=pa.table(
            [_joined([each.window_chunks + first for each, first in zip(files, firsts, strict=False)])], schema=WINDOWS
        ),
    )
    return tables, np.concatenate([each.vectors for each in files]) if files else np.zeros((0, 0), np.float16)


def _joined(parts: Sequence[NDArray[np.integer]]) -> NDArray[np.int32]:
    return np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32)


def _files(files: Sequence[AnalyzedFile], firsts: NDArray[np.int64]) -> pa.Table:
    columns = [
        [each.source.path for each in files],
        [each.source.blob_id for each in files],
        [each.chunked.language for each in files],
        [each.source.data for each in files],
        [each.source.masked for each in files],
        firsts[:-1].tolist(),
        [len(each.chunked.chunks) for each in files],
        [each.chunked.problem for each in files],
    ]
    return _table(columns, FILES)


def _chunks(files: Sequence[AnalyzedFile]) -> pa.Table:
    columns: list[list[object]] = [[] for _ in CHUNKS]
    for row, each in enumerate(files):
        chunks = each.chunked.chunks
        columns[0] += chunk_ids(each.source.path, chunks, each.source.data)
        columns[1] += [row] * len(chunks)
        for number, name in enumerate(CHUNKS.names[2:], start=2):
            if name == "owned":
                columns[number] += [[offset for span in chunk.owned for offset in span] for chunk in chunks]
            else:
                columns[number] += [getattr(chunk, name) for chunk in chunks]
    return _table(columns, CHUNKS)


def _symbols(files: Sequence[AnalyzedFile], firsts: NDArray[np.int64]) -> pa.Table:
    columns: list[list[object]] = [[] for _ in SYMBOLS]
    for each, first in zip(files, firsts.tolist(), strict=False):
        for number, name in enumerate(SYMBOLS.names):
            values = [getattr(symbol, name) for symbol in each.chunked.symbols]
            columns[number] += [value + first for value in values] if name == "chunk" else values
    return _table(columns, SYMBOLS)


def _invert(files: Sequence[AnalyzedFile], firsts: NDArray[np.int64]) -> tuple[pa.Table, pa.Table]:
    vocabulary = sorted({term for each in files for term in each.terms})
    position = {term: number for number, term in enumerate(vocabulary)}
    terms, chunks, weights = [], [], []
    for each, first in zip(files, firsts.tolist(), strict=False):
        globally = np.array([position[term] for term in each.terms], np.int64)
        terms.append(globally[each.postings[:, 1]] if len(each.terms) else globally)
        chunks.append(each.postings[:, 0].astype(np.int64) + first)
        weights.append(each.postings[:, 2])
    if not files:
        return _table([[], []], TERMS), _table([[], []], POSTINGS)
    term, chunk, weight = np.concatenate(terms), np.concatenate(chunks), np.concatenate(weights)
    order = np.lexsort((chunk, term))
    counts = np.bincount(term, minlength=len(vocabulary))
    return (
        _table([vocabulary, counts.tolist()], TERMS),
        pa.table([chunk[order].astype(np.int32), weight[order]], schema=POSTINGS),
    )


def _table(columns: Sequence[Sequence[object]], schema: pa.Schema) -> pa.Table:
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
