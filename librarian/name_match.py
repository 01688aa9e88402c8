"""How well the names of things (file stems, folders, chunks) fit the words of a query."""

from __future__ import annotations

import itertools
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MIN_PREFIX_CHARS = 3
"""`sched` stands for scheduler; shorter beginnings stand for anything."""

PREFIX_CREDIT = 0.5


class NameIndex:
    """Names as sets of word stems. Immutable, threads may share it."""

    def __init__(self, names: Sequence[Iterable[str]]) -> None:
        by_part: dict[str, list[int]] = {}
        sizes = np.zeros(len(names), np.float32)
        for row, name in enumerate(names):
            distinct = set(name)
            sizes[row] = len(distinct)
            for part in distinct:
                by_part.setdefault(part, []).append(row)
        self._sizes = np.maximum(sizes, np.float32(1.0))
        # Sorted, so that all parts with one beginning lie together, and so do the names that have them.
        self._parts = sorted(by_part)
        self._starts = np.cumsum([0, *(len(by_part[part]) for part in self._parts)])
        self._rows = np.array([row for part in self._parts for row in by_part[part]], np.int64)

    def fit(self, keywords: Mapping[str, float]) -> tuple[Floats, Floats]:
        """(recall, precision), float32 [names] each: the share of the keywords' weight that a name has, and the share
        of the name's parts that are keywords."""
        recall = np.zeros(len(self._sizes), np.float32)
        credits = np.zeros(len(self._parts), np.float32)
        for keyword, weight in keywords.items():
            best = np.zeros(len(self._sizes), np.float32)
            for first, last, credit in self._alike(keyword):
                credits[first:last] = np.maximum(credits[first:last], np.float32(credit))
                rows = self._rows[self._starts[first] : self._starts[last]]
                best[rows] = np.maximum(best[rows], np.float32(credit))
            recall += np.float32(weight) * best
        total = np.float32(sum(keywords.values()) or 1.0)
        return (recall / total).astype(np.float32), (self._matched(credits) / self._sizes).astype(np.float32)

    def _matched(self, credits: Floats) -> Floats:
        """float32 [names]: the sum of the credits of a name's parts."""
        matched = np.zeros(len(self._sizes), np.float32)
        edges = np.flatnonzero(np.diff(credits, prepend=np.float32(0), append=np.float32(0)))
        for first, last in itertools.pairwise(edges.tolist()):
            if credits[first]:
                np.add.at(matched, self._rows[self._starts[first] : self._starts[last]], credits[first])
        return matched

    def _alike(self, keyword: str) -> list[tuple[int, int, float]]:
        """The parts that are the keyword, begin with it, or are its beginning: ranges of them, and what each counts."""
        parts = self._parts
        first = bisect_left(parts, keyword)
        is_there = first < len(parts) and parts[first] == keyword
        found = [(first, first + 1, 1.0)] if is_there else []
        if len(keyword) < MIN_PREFIX_CHARS:
            return found
        last = bisect_left(parts, keyword + chr(sys.maxunicode), first)
        found.append((first + is_there, last, PREFIX_CREDIT))
        for length in range(MIN_PREFIX_CHARS, len(keyword)):
            place = bisect_left(parts, keyword[:length])
            if place < len(parts) and parts[place] == keyword[:length]:
                found.append((place, place + 1, PREFIX_CREDIT))
        return found
