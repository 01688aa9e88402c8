"""How evidence becomes one score: what each kind of it weighs, and how many chunks of one file may come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weights:
    """Each kind of evidence is 0..1 within a query; chunk_: of the chunk itself, file_: shared by its file."""

    chunk_bm25: float = 0.9
    chunk_cover: float = 1.0
    chunk_dense: float = 0.3
    chunk_name: float = 1.2
    chunk_definition: float = 2.0
    chunk_mention: float = 1.2
    file_bm25: float = 0.3
    file_sum: float = 0.4
    file_dense: float = 0.2
    file_name: float = 0.5
    stem_recall: float = 0.4
    stem_precision: float = 0.4
    stem_f: float = 0.8
    folder: float = 0.3
    sum_chunks: int = 5
    same_file: float = 0.3


def relative(values: Floats) -> Floats:
    """Divided by the highest."""
    top = values.max(initial=0.0)
    return values / top if top > 0 else values


def best_per_file(values: Floats, files: NDArray[np.int64], count: int) -> Floats:
    best = np.zeros(count, np.float32)
    np.maximum.at(best, files, values)
    return best


def sum_of_best(values: Floats, files: NDArray[np.int64], count: int, best: int) -> Floats:
    """The sum of the `best` highest values of each file: several good chunks are more evidence than one."""
    rows = np.flatnonzero(values > 0)
    order = rows[np.lexsort((-values[rows], files[rows]))]
    if not len(order):
        return np.zeros(count, np.float32)
    owners = files[order]
    firsts = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
    place = np.arange(len(order)) - np.repeat(firsts, np.diff(np.append(firsts, len(order))))
    kept = place < best
    return np.bincount(owners[kept], values[order[kept]], minlength=count).astype(np.float32)


def ordered(
    candidates: Sequence[int], scores: Floats, files: NDArray[np.int64], decay: float
) -> list[tuple[int, float]]:
    """Chunks best first, each further chunk of a file multiplied by `decay` once more than the one before."""
    taken: dict[int, int] = {}
    damped: list[tuple[int, float]] = []
    for chunk in sorted(candidates, key=lambda row: (-scores[row], row)):
        before = taken.get(int(files[chunk]), 0)
        taken[int(files[chunk])] = before + 1
        damped.append((chunk, float(scores[chunk]) * decay**before))
    return sorted(damped, key=lambda pair: (-pair[1], pair[0]))
