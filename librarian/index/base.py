"""The seam for vector indexes: the nearest of many vectors by inner product."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Scores = NDArray[np.float32]
Vectors = NDArray[np.float32]


class VectorIndex(Protocol):
    """Vectors are numbered as they were given, from 0. Opened ones may be searched by several threads at once."""

    @property
    def size(self) -> int: ...

    def search(self, query: Vectors, k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """The at most `k` nearest of the `allowed` (sorted; None: all), best first, ties by number.

        query: float32 [dim].
        """
        ...

    def vectors(self, ids: Ids) -> Vectors:
        """float32 [len(ids), dim], as given."""
        ...


class VectorIndexFile(Protocol):
    """How a provider keeps its index: one file or several, whose names begin with `vectors`, in a folder."""

    def write(self, folder: Path, vectors: Vectors) -> list[Path]:
        """The files written; the same bytes for the same vectors.

        Raises:
            OSError
        """
        ...

    def open(self, folder: Path, size: int, dim: int) -> VectorIndex:
        """Memory-mapped where that is possible.

        Raises:
            OSError, ValueError: the files are not those of an index of this size and dim.
        """
        ...
