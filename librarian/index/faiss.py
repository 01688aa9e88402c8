"""FAISS: all vectors compared up to FLAT_UNTIL of them; above, 8-bit codes find candidates and exact scores order them.

Measured with 256 dimensions, top 50 of one query: 100,000 flat 8.5 ms; by codes 2.8 ms with a recall@10 of .978 before
the exact scores.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from librarian.index.base import Ids, Scores, Vectors
from librarian.index.exact import ExactIndex, map_raw, write_raw

FLAT_UNTIL = 100_000
RESCORED = 200
"""At least so many candidates get exact scores, and at least four times as many as are asked for."""

FLAT_NAME = "vectors.flat.faiss"
CODES_NAME = "vectors.sq8.faiss"
RAW_NAME = "vectors.f32"


class FaissFile:
    """A VectorIndexFile. flat_until: the number of vectors up to which all are compared; the same to write and open."""

    def __init__(self, flat_until: int = FLAT_UNTIL) -> None:
        self._flat_until = flat_until

    def write(self, folder: Path, vectors: Vectors) -> list[Path]:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if not vectors.size:
            write_raw(folder / RAW_NAME, vectors)
            return [folder / RAW_NAME]
        if len(vectors) <= self._flat_until:
            return [_write_index(faiss.IndexFlatIP(vectors.shape[1]), vectors, folder / FLAT_NAME)]
        codes = _write_index(_empty_codes(vectors.shape[1]), vectors, folder / CODES_NAME)
        write_raw(folder / RAW_NAME, vectors)
        return [codes, folder / RAW_NAME]

    def open(self, folder: Path, size: int, dim: int) -> FlatIndex | CodesIndex | ExactIndex:
        if not size * dim:
            return ExactIndex(map_raw(folder / RAW_NAME, size, dim))
        if size <= self._flat_until:
            return FlatIndex(_map_index(folder / FLAT_NAME, faiss.IndexFlatIP(dim), size, 4 * dim))
        codes = _map_index(folder / CODES_NAME, _empty_codes(dim), size, dim)
        return CodesIndex(codes, map_raw(folder / RAW_NAME, size, dim))


class FlatIndex:
    """All vectors are compared."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @property
    def size(self) -> int:
        return self._index.ntotal

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        available = self.size if allowed is None else len(allowed)
        k = min(k, available)
        if k <= 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        asked = min(k + 1, available)
        while True:
            ids, scores = _search(self._index, query, asked, allowed)
            if asked == available or scores[-1] < scores[k - 1]:
                break
            asked = min(2 * asked, available)  # equal scores at the border: all of them decide who is in
        best = np.lexsort((ids, -scores))[:k]
        return ids[best], scores[best]

    def vectors(self, ids: Ids) -> Vectors:
        return self._index.reconstruct_batch(np.ascontiguousarray(ids, np.int64))


class CodesIndex:
    """Candidates by 8-bit codes, ordered by their exact scores."""

    def __init__(self, codes: Any, raw: Vectors) -> None:
        self._codes = codes
        self._exact = ExactIndex(raw)

    @property
    def size(self) -> int:
        return self._codes.ntotal

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        available = self.size if allowed is None else len(allowed)
        asked = min(max(4 * k, RESCORED), available)
        if k <= 0 or not asked:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        candidates = allowed if asked == available else _search(self._codes, query, asked, allowed)[0]
        return self._exact.search(query, k, None if candidates is None else np.sort(candidates))

    def vectors(self, ids: Ids) -> Vectors:
        return self._exact.vectors(ids)


def _empty_codes(dim: int) -> Any:
    return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)


def _write_index(index: Any, vectors: Vectors, path: Path) -> Path:
    faiss.omp_set_num_threads(1)
    index.train(vectors)
    index.add(vectors)
    with path.open("wb") as file:  # FAISS' own writer raises RuntimeError where Python's raises OSError
        file.write(faiss.serialize_index(index).tobytes())
    return path


def _map_index(path: Path, empty: Any, size: int, vector_bytes: int) -> Any:
    """FAISS believes the lengths in a file, and dies of wrong ones: so they are compared with what they must be."""
    if not empty.is_trained:
        empty.train(np.zeros((1, empty.d), np.float32))
    header = faiss.serialize_index(empty).tobytes()
    expected_bytes = len(header) + size * vector_bytes
    with path.open("rb") as file:
        start = file.read(len(header))
        found_bytes = path.stat().st_size
    if found_bytes != expected_bytes:
        raise ValueError(f"{path.name} has {found_bytes} bytes instead of {expected_bytes}")
    if start[:16] != header[:4] + struct.pack("<iq", empty.d, size):
        raise ValueError(f"{path.name} is not an index of {size} vectors of {empty.d} dimensions")
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ValueError(f"{path.name} is damaged: FAISS cannot read it") from error
    if (index.ntotal, index.d, type(index)) != (size, empty.d, type(empty)):
        raise ValueError(f"{path.name} is not an index of {size} vectors of {empty.d} dimensions")
    return index


def _search(index: Any, query: Vectors, k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
    faiss.omp_set_num_threads(1)  # of this thread only; searches run in several, each with a core of its own
    row = np.ascontiguousarray(query, np.float32)[None]
    if allowed is None:
        scores, ids = index.search(row, k)
        return ids[0], scores[0]
    bits = np.zeros(index.ntotal, np.bool_)
    bits[allowed] = True
    bitmap = np.packbits(bits, bitorder="little")
    swig: Any = faiss  # its constructors take other arguments than their signatures say
    parameters = swig.SearchParameters(sel=swig.IDSelectorBitmap(bitmap))
    scores, ids = index.search(row, k, params=parameters)
    return ids[0], scores[0]
