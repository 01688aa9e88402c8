"""All vectors compared, in numpy. The measure for every other index, and good enough for small libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from librarian.index.base import Ids, Scores, Vectors

FILE_NAME = "vectors.f32"


class ExactIndex:
    """Over float32 [n, dim], in memory or mapped."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    @property
    def size(self) -> int:
        return len(self._vectors)

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        numbers = np.arange(self.size, dtype=np.int64) if allowed is None else allowed
        # einsum adds up each row alone, so that a score does not depend on which others are allowed.
        scores = np.einsum("ij,j->i", self._vectors if allowed is None else self._vectors[allowed], query)
        best = np.lexsort((numbers, -scores))[: max(k, 0)]
        return numbers[best], scores[best].astype(np.float32)

    def vectors(self, ids: Ids) -> Vectors:
        return np.array(self._vectors[ids], np.float32)


class ExactFile:
    """A VectorIndexFile: the vectors one after the other, little endian."""

    def write(self, folder: Path, vectors: Vectors) -> list[Path]:
        path = folder / FILE_NAME
        write_raw(path, vectors)
        return [path]

    def open(self, folder: Path, size: int, dim: int) -> ExactIndex:
        return ExactIndex(map_raw(folder / FILE_NAME, size, dim))


def write_raw(path: Path, vectors: Vectors) -> None:
    with path.open("wb") as file:
        file.write(np.ascontiguousarray(vectors, "<f4").tobytes())


def map_raw(path: Path, size: int, dim: int) -> Vectors:
    """float32 [size, dim], mapped.

    Raises:
        OSError, ValueError: another length; reading behind the end of a mapped file would kill the process.
    """
    check_length(path, 4 * size * dim)
    if not size * dim:
        return np.zeros((size, dim), np.float32)
    return np.memmap(path, "<f4", "r", shape=(size, dim))


def check_length(path: Path, expected_bytes: int) -> None:
    found_bytes = path.stat().st_size
    if found_bytes != expected_bytes:
        raise ValueError(f"{path.name} has {found_bytes} bytes instead of {expected_bytes}")
