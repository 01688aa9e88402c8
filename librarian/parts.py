"""Tables of some files of a library: made where the files are analyzed, then merged into those of the whole.

Merging gives the same tables, byte for byte, whatever the files' distribution over the parts: `build_tables` of all
files at once is the definition of what must come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from librarian.tables import CHUNKS, FILES, POSTINGS, SYMBOLS, TERMS, WINDOWS, Tables

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """vectors: float16 [windows, dim]. Rows of files are sorted by path."""

    tables: Tables
    vectors: NDArray[np.float16]


def empty_part(dim: int) -> Part:
    schemas = (FILES, CHUNKS, SYMBOLS, TERMS, POSTINGS, WINDOWS)
    return Part(Tables(*(schema.empty_table() for schema in schemas)), np.zeros((0, dim), np.float16))


def merge_parts(parts: Sequence[Part]) -> Part:
    """All of them as one. No two may hold a file of the same path; at least one part."""
    files = pa.concat_tables([part.tables.files for part in parts]).combine_chunks()
    chunks = pa.concat_tables([part.tables.chunks for part in parts]).combine_chunks()
    counts = _numbers(files, "chunks")
    before = np.cumsum(counts) - counts
    order = _sorted_rows(files["path"])
    old_rows = _ranges(before[order], counts[order])
    new_row = np.empty(len(old_rows), np.int64)
    new_row[old_rows] = np.arange(len(old_rows))
    firsts = _offsets([part.tables.chunks.num_rows for part in parts])
    windows, vectors = _merged_windows(parts, firsts, new_row)
    terms, postings = _merged_postings(parts, firsts, new_row)
    tables = Tables(
        files=_with_numbers(files.take(order), "first_chunk", np.cumsum(counts[order]) - counts[order]),
        chunks=_with_numbers(chunks.take(old_rows), "file", np.repeat(np.arange(len(order)), counts[order])),
        symbols=_merged_symbols(parts, firsts, new_row, np.repeat(np.arange(len(order)), counts[order])),
        terms=terms,
        postings=postings,
        windows=windows,
    )
    return Part(tables, vectors)


def select_files(part: Part, rows: Rows) -> Part:
    """Only these files of it; `rows` of the table of files, ascending."""
    tables = part.tables
    files = tables.files.take(rows)
    counts = _numbers(files, "chunks")
    kept = _ranges(_numbers(files, "first_chunk"), counts)
    new_row = np.full(tables.chunks.num_rows, -1, np.int64)
    new_row[kept] = np.arange(len(kept))
    windows = new_row[_numbers(tables.windows, "chunk")]
    symbols = new_row[_numbers(tables.symbols, "chunk")]
    terms, postings = _selected_postings(tables, new_row)
    selected = Tables(
        files=_with_numbers(files, "first_chunk", np.cumsum(counts) - counts),
        chunks=_with_numbers(tables.chunks.take(kept), "file", np.repeat(np.arange(len(rows)), counts)),
        symbols=_with_numbers(tables.symbols.filter(pa.array(symbols >= 0)), "chunk", symbols[symbols >= 0]),
        terms=terms,
        postings=postings,
        windows=_window_table(windows[windows >= 0]),
    )
    return Part(selected, part.vectors[windows >= 0])


def _merged_symbols(parts: Sequence[Part], firsts: Rows, new_row: Rows, file_of_chunk: Rows) -> pa.Table:
    symbols = pa.concat_tables([part.tables.symbols for part in parts]).combine_chunks()
    chunk = new_row[_moved([_numbers(part.tables.symbols, "chunk") for part in parts], firsts)]
    order = np.argsort(file_of_chunk[chunk], kind="stable")
    return _with_numbers(symbols.take(order), "chunk", chunk[order])


def _merged_windows(parts: Sequence[Part], firsts: Rows, new_row: Rows) -> tuple[pa.Table, NDArray[np.float16]]:
    chunk = new_row[_moved([_numbers(part.tables.windows, "chunk") for part in parts], firsts)]
    order = np.argsort(chunk, kind="stable")
    return _window_table(chunk[order]), np.concatenate([part.vectors for part in parts])[order]


def _merged_postings(parts: Sequence[Part], firsts: Rows, new_row: Rows) -> tuple[pa.Table, pa.Table]:
    spellings = pa.chunked_array([chunk for part in parts for chunk in part.tables.terms["term"].chunks], pa.string())
    vocabulary = spellings.unique().sort()
    number = _column(pc.call_function("index_in", [spellings], pc.SetLookupOptions(vocabulary)))
    counts = np.concatenate([_numbers(part.tables.terms, "postings") for part in parts])
    term = np.repeat(number, counts)
    chunk = new_row[_moved([_numbers(part.tables.postings, "chunk") for part in parts], firsts)]
    weight = np.concatenate([part.tables.postings["weight"].to_numpy() for part in parts])
    order = np.argsort(term * max(1, len(new_row)) + chunk)  # one number for both is sorted much faster than two
    found = np.bincount(term, minlength=len(vocabulary))
    return _term_table(vocabulary, found), _posting_table(chunk[order], weight[order])


def _selected_postings(tables: Tables, new_row: Rows) -> tuple[pa.Table, pa.Table]:
    term = np.repeat(np.arange(tables.terms.num_rows), _numbers(tables.terms, "postings"))
    chunk = new_row[_numbers(tables.postings, "chunk")]
    kept = chunk >= 0
    found = np.bincount(term[kept], minlength=tables.terms.num_rows)
    vocabulary = tables.terms["term"].combine_chunks().filter(pa.array(found > 0))
    return _term_table(vocabulary, found[found > 0]), _posting_table(
        chunk[kept], tables.postings["weight"].to_numpy()[kept]
    )


def _term_table(vocabulary: pa.Array, counts: Rows) -> pa.Table:
    return pa.table([vocabulary, counts.astype(np.int64)], schema=TERMS)


def _posting_table(chunk: Rows, weight: NDArray[np.uint32]) -> pa.Table:
    return pa.table([chunk.astype(np.int32), weight], schema=POSTINGS)


def _window_table(chunk: Rows) -> pa.Table:
    return pa.table([chunk.astype(np.int32)], schema=WINDOWS)


def _sorted_rows(strings: pa.ChunkedArray) -> Rows:
    """By UTF-8 bytes, which is the order of Python's strings, too."""
    return _column(pc.call_function("array_sort_indices", [strings.combine_chunks()]))


def _numbers(table: pa.Table, name: str) -> Rows:
    return _column(table[name])


def _column(array: pa.Array | pa.ChunkedArray) -> Rows:
    return array.to_numpy(zero_copy_only=False).astype(np.int64)


def _with_numbers(table: pa.Table, name: str, values: Rows) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.set_column(position, table.schema.field(position), pa.array(values.astype(np.int32)))


def _moved(numbers: Sequence[Rows], offsets: Rows) -> Rows:
    return np.concatenate([each + offset for each, offset in zip(numbers, offsets, strict=True)])


def _offsets(counts: Sequence[int]) -> Rows:
    return np.cumsum([0, *counts[:-1]]).astype(np.int64)


def _ranges(starts: Rows, counts: Rows) -> Rows:
    """starts[0], starts[0] + 1, …, counts[0] of them, then those of starts[1], …"""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())


def part_to_bytes(part: Part) -> bytes:
    """For other processes: each table as an Arrow stream, then the vectors."""
    sink = pa.BufferOutputStream()
    for each in fields(Tables):
        table = getattr(part.tables, each.name)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    pa.ipc.write_tensor(pa.Tensor.from_numpy(np.ascontiguousarray(part.vectors)), sink)
    return sink.getvalue().to_pybytes()


def part_from_bytes(data: bytes) -> Part:
    source = pa.BufferReader(data)
    tables = []
    for _ in fields(Tables):
        with pa.ipc.open_stream(source) as reader:
            tables.append(reader.read_all())
    return Part(Tables(*tables), pa.ipc.read_tensor(source).to_numpy())
