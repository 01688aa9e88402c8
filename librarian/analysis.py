"""One file, from its bytes to all that the index needs of it. The same function runs in process and on Ray workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from librarian.chunker import chunk_file
from librarian.chunks import ChunkedFile
from librarian.embedder.base import Embedder
from librarian.tokens import chunk_terms
from librarian.windows import embedding_windows


@dataclass(frozen=True, slots=True)
class SourceFile:
    """data: secrets masked, `masked` of them."""

    path: str
    blob_id: str
    data: bytes
    masked: int = 0


@dataclass(frozen=True, slots=True)
class AnalyzedFile:
    """terms: the distinct BM25 terms of the file, sorted. postings: uint32 [n, 3], rows of chunk, position in `terms`,
    weight, sorted. window_chunks: int32 [w], the chunk of each embedded window. vectors: float16 [w, dim].
    """

    source: SourceFile
    chunked: ChunkedFile
    terms: list[str]
    postings: NDArray[np.uint32]
    window_chunks: NDArray[np.int32]
    vectors: NDArray[np.float16]


def analyze(sources: Sequence[SourceFile], embedder: Embedder, parse_timeout_s: float) -> list[AnalyzedFile]:
    """All texts of these files are embedded in one call.

    Raises:
        EmbedderUnavailable
    """
    chunked = [chunk_file(each.path, each.data, parse_timeout_s) for each in sources]
    texts: list[str] = []
    windows: list[list[int]] = []
    counted: list[tuple[list[str], NDArray[np.uint32]]] = []
    for source, file in zip(sources, chunked, strict=True):
        owners: list[int] = []
        counts: list[dict[str, int]] = []
        for position, chunk in enumerate(file.chunks):
            own = chunk.own_content(source.data)
            cut = embedding_windows(source.path, chunk, own)
            texts += cut
            owners += [position] * len(cut)
            counts.append(chunk_terms(source.path, chunk, own))
        windows.append(owners)
        counted.append(_postings(counts))
    vectors = embedder.embed(texts).astype(np.float16)
    ends = np.cumsum([len(each) for each in windows])
    return [
        AnalyzedFile(source, file, terms, postings, np.array(owners, np.int32), vectors[end - len(owners) : end])
        for source, file, (terms, postings), owners, end in zip(sources, chunked, counted, windows, ends, strict=True)
    ]


def _postings(counts: Sequence[dict[str, int]]) -> tuple[list[str], NDArray[np.uint32]]:
    terms = sorted({term for each in counts for term in each})
    position = {term: number for number, term in enumerate(terms)}
    rows = [
        (chunk, position[term], weight) for chunk, each in enumerate(counts) for term, weight in sorted(each.items())
    ]
    return terms, np.array(rows, np.uint32).reshape(-1, 3)
