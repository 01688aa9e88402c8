"""Finds the chunks of a library that a query means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from librarian.embedder.base import Embedder
from librarian.index.base import VectorIndex
from librarian.path_filter import matching
from librarian.path_kinds import PathKinds
from librarian.query import Query, read_query
from librarian.ranking import Floats, Rows, Weights, highest, ordered
from librarian.relevance import relevance
from librarian.signals import SignalIndex, Signals
from librarian.tables import Tables
from librarian.values import Filters

POOL = 200
"""So many chunks are looked at in the last stage; more are never shown."""


@dataclass(frozen=True, slots=True)
class Hit:
    """chunk: row of the table of chunks. score: 0..1, comparable between queries and libraries.

    explain: each kind of evidence (see ranking.Weights), what the path costs, the score that ranks."""

    chunk: int
    score: float
    explain: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """hits: best first. examined: how many chunks were scored in the last, exact stage."""

    hits: list[Hit]
    examined: int


class Searcher:
    """One library, opened. Immutable, threads may share it."""

    def __init__(
        self, tables: Tables, vectors: VectorIndex, embedder: Embedder, weights: Weights | None = None
    ) -> None:
        self.weights = weights or Weights()
        self.signals = SignalIndex(tables, vectors, embedder)
        self._paths: list[str] = tables.files["path"].to_pylist()
        self._languages = np.array(tables.files["language"].to_pylist(), np.str_)
        self._types = np.array(tables.chunks["chunk_type"].to_pylist(), np.str_)
        self._kinds = PathKinds(self._paths)
        self._contents = _contents(tables.chunks["chunk_id"].to_pylist(), tables.chunks["name"].to_pylist())

    def search(
        self, query: str, max_chunks: int, filters: Filters | None = None, explain: bool = False
    ) -> SearchOutcome:
        """At most `max_chunks`, which may be fewer where little fits.

        Raises:
            EmbedderUnavailable
        """
        asked = read_query(query)
        allowed = self._allowed(filters or Filters())
        signals = self.signals.gather(asked, allowed)
        factors = self._kinds.factors({*asked.keywords, *asked.terms})
        scores = self._scores(signals, factors)
        if allowed is not None:
            scores = np.where(allowed, scores, np.float32(0))
        pool = highest(scores, POOL)
        ranked = ordered(pool, scores, self.signals.files, self._contents)[:max_chunks]
        return SearchOutcome(self._hits(asked, signals, factors, ranked, explain), len(pool))

    def _scores(self, signals: Signals, factors: Floats) -> Floats:
        """float32 [chunks]"""
        of_files = np.zeros(len(self._paths), np.float32)
        for name, values in signals.files.items():
            of_files += np.float32(getattr(self.weights, name)) * values
        total = of_files[self.signals.files]
        for name, values in signals.chunks.items():
            total += np.float32(getattr(self.weights, name)) * values
        return total * factors[self.signals.files]

    def _allowed(self, filters: Filters) -> NDArray[np.bool_] | None:
        """bool [chunks], None where nothing is filtered."""
        if not (filters.paths or filters.languages or filters.chunk_types):
            return None
        allowed = np.ones(len(self._types), np.bool_)
        if filters.chunk_types:
            allowed &= np.isin(self._types, filters.chunk_types)
        if filters.languages:
            allowed &= np.isin(self._languages, filters.languages)[self.signals.files]
        if filters.paths:
            allowed &= np.array(matching(filters.paths, self._paths), np.bool_)[self.signals.files]
        return allowed

    def _hits(
        self, query: Query, signals: Signals, factors: Floats, ranked: Sequence[tuple[int, float]], explain: bool
    ) -> list[Hit]:
        if not ranked:
            return []
        sure = relevance(signals, self.signals.files, ranked, query.vague)
        return [
            Hit(chunk, sure[place], self._explain(query, signals, factors, chunk, score) if explain else None)
            for place, (chunk, score) in enumerate(ranked)
        ]

    def _explain(self, query: Query, signals: Signals, factors: Floats, chunk: int, score: float) -> dict[str, Any]:
        file = int(self.signals.files[chunk])
        shares = {name: values[chunk] for name, values in signals.chunks.items()}
        shares |= {name: values[file] for name, values in signals.files.items()}
        return {
            **{name: round(float(value), 4) for name, value in shares.items()},
            "penalty": round(float(factors[file]), 4),
            "kinds": self._kinds.of(file),
            "symbols": [".".join(each) for each in query.symbols],
            "rank_score": round(score, 4),
        }


def _contents(chunk_ids: Sequence[str], names: Sequence[str]) -> Rows:
    """A number for each chunk, the same for chunks of the same text: their ids end with its hash."""
    numbers: dict[tuple[str, str], int] = {}
    keys = zip(names, (chunk_id.rpartition(":")[2] for chunk_id in chunk_ids), strict=True)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def merged(outcomes: Sequence[SearchOutcome], max_chunks: int) -> list[tuple[int, Hit]]:
    """The best hits of several libraries: (position of its library, hit)."""
    hits = [(position, hit) for position, outcome in enumerate(outcomes) for hit in outcome.hits]
    return sorted(hits, key=lambda pair: (-pair[1].score, pair[0]))[:max_chunks]
