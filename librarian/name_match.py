"""How well the names of things (file stems, folders, chunks) fit the words of a query."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MIN_PREFIX_CHARS = 3
"""`auth` stands for authentication; shorter beginnings stand for anything."""

PREFIX_CREDIT = 0.5


class NameIndex:
    """Names as sets of word stems. Immutable, threads may share it."""

    def __init__(self, names: Sequence[Iterable[str]]) -> None:
        rows: dict[str, list[int]] = {}
        sizes = np.zeros(len(names), np.float32)
        for row, name in enumerate(names):
            distinct = set(name)
            sizes[row] = len(distinct)
            for part in distinct:
                rows.setdefault(part, []).append(row)
        self._sizes = np.maximum(sizes, np.float32(1.0))
        self._parts = sorted(rows)
        self._rows = {part: np.array(each, np.int64) for part, each in rows.items()}

    def fit(self, keywords: Mapping[str, float]) -> tuple[Floats, Floats]:
        """(recall, precision), float32 [names] each: the share of the keywords' weight that a name has, and the share
        of the name's parts that are keywords."""
        recall = np.zeros(len(self._sizes), np.float32)
        credits: dict[str, float] = {}
        for keyword, weight in keywords.items():
            best = np.zeros(len(self._sizes), np.float32)
            for part, credit in self._alike(keyword):
                credits[part] = max(credits.get(part, 0.0), credit)
                rows = self._rows[part]
                best[rows] = np.maximum(best[rows], credit)
            recall += np.float32(weight) * best
        matched = np.zeros(len(self._sizes), np.float32)
        for part, credit in credits.items():
            matched[self._rows[part]] += np.float32(credit)
        total = np.float32(sum(keywords.values()) or 1.0)
        return (recall / total).astype(np.float32), (matched / self._sizes).astype(np.float32)

    def _alike(self, keyword: str) -> list[tuple[str, float]]:
        """The parts that are the keyword, begin with it, or are its beginning, with what each counts."""
        found = [(keyword, 1.0)] if keyword in self._rows else []
        if len(keyword) >= MIN_PREFIX_CHARS:
            place = bisect_left(self._parts, keyword)
            while place < len(self._parts) and self._parts[place].startswith(keyword):
                if self._parts[place] != keyword:
                    found.append((self._parts[place], PREFIX_CREDIT))
                place += 1
        beginnings = (keyword[:length] for length in range(MIN_PREFIX_CHARS, len(keyword)))
        return [*found, *((part, PREFIX_CREDIT) for part in beginnings if part in self._rows)]
