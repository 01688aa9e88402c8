"""How evidence becomes one score: what each kind of it weighs, and how many chunks of one file may come first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weights:
    """What each kind of evidence counts; each is 0..1 within a query. Why it is evidence:

    bm25: rare words of the query, often. cover: as many different words of it as possible. dense: the same meaning in
    other words; it counts as far as no chunk has the query's own, since where one has, vectors of the rest mislead.
    name: it is called what is asked for. definition: the query is a name, and it defines that.
    mention: a sentence names it. file_bm25, file_sum, file_name: its file is about that as a whole: a
    chunk in good company is more likely meant. stem_*: so says the name of the file: all words of the query (recall),
    and only words of it, too (balance); only such words alone say nothing, as many files are called by one common word.
    folder: so say its last two folders.

    Chosen over the eight repositories of the benchmark and the questions of benchmarks/questions about this one: names
    that weighed more were worth .01 there, and cost .10 here.
    """

    chunk_bm25: float = 1.2
    chunk_cover: float = 1.2
    chunk_dense: float = 1.6
    chunk_name: float = 0.5
    chunk_definition: float = 1.9
    chunk_mention: float = 1.0
    file_bm25: float = 0.7
    file_sum: float = 0.4
    file_name: float = 0.2
    stem_recall: float = 0.4
    stem_balance: float = 1.0
    folder: float = 0.5


SAME_FILE = 0.3
"""Each further chunk of a file counts this much of the one before: a reader wants other places, too."""

SAME_TEXT = 0.3
"""The same text in another file is a copy: nothing new to read."""

COHERENT_CHUNKS = 8
"""So many of a file's best chunks make its company; more would favour long files."""


def relative(values: Floats) -> Floats:
    """Divided by the highest."""
    top = values.max(initial=0.0)
    return values / top if top > 0 else values


def best_per_file(values: Floats, files: Rows, count: int) -> Floats:
    best = np.zeros(count, np.float32)
    np.maximum.at(best, files, values)
    return best


def sum_of_best(values: Floats, files: Rows, count: int, pool: int) -> Floats:
    """float32 [count]: the sum of each file's COHERENT_CHUNKS highest values, of the `pool` highest of all."""
    rows = highest(values, pool)
    order = rows[np.lexsort((-values[rows], files[rows]))]
    if not len(order):
        return np.zeros(count, np.float32)
    owners = files[order]
    firsts = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
    place = np.arange(len(order)) - np.repeat(firsts, np.diff(np.append(firsts, len(order))))
    kept = place < COHERENT_CHUNKS
    return np.bincount(owners[kept], values[order[kept]], minlength=count).astype(np.float32)


def highest(values: Floats, count: int) -> Rows:
    """Rows of the at most `count` highest values above 0, best first, ties by row."""
    rows = np.flatnonzero(values > 0)
    if len(rows) > count:
        threshold = np.partition(values[rows], len(rows) - count)[len(rows) - count]
        rows = rows[values[rows] >= threshold]
    return rows[np.argsort(-values[rows], kind="stable")][:count]


def ordered(candidates: Rows, scores: Floats, files: Rows, contents: Rows) -> list[tuple[int, float]]:
    """Chunks with their final scores, best first. candidates: best first. files, contents: of each chunk, where equal
    numbers mean the same file, the same text."""
    in_file: Counter[int] = Counter()
    alike: Counter[int] = Counter()
    damped: list[tuple[int, float]] = []
    columns = (candidates, files[candidates], contents[candidates], scores[candidates])
    for chunk, file, content, score in zip(*(column.tolist() for column in columns), strict=True):
        damped.append((chunk, score * SAME_FILE ** in_file[file] * SAME_TEXT ** alike[content]))
        in_file[file] += 1
        alike[content] += 1
    return sorted(damped, key=lambda pair: (-pair[1], pair[0]))
