"""How surely a hit answers the query, 0..1, comparable between queries and libraries.

A logistic function of what the best hit has in common with the query. Its constants were fitted to the benchmark's
queries, each put to its own repository (an answer is there) and to the others (mostly none is): `python -m
benchmarks.retrieval_offline --calibrate` shows how well they tell the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from librarian.ranking import Rows
from librarian.signals import Signals

BIAS = -3.3
CHUNK_COVER = 1.4
FILE_COVER = 2.3
DEFINED = 2.7
NAMED = 2.1
FILE_NAMED = 2.6
VAGUE = -3.0
"""Stop words and single letters are everywhere: that a chunk has them all says nothing."""

COVERING_HITS = 3
"""An answer may be spread over the first few hits: the best cover of so many counts."""

ANSWERABLE = 0.2
"""Below it the best hit is more likely chance than an answer: 97 % of the benchmark's queries are above it in their own
repository, 3 % of questions about other fields of knowledge."""


def relevance(signals: Signals, files: Rows, ranked: Sequence[tuple[int, float]], vague: bool = False) -> list[float]:
    """Of each ranked chunk, falling with the rank. ranked: (chunk, score), best first, not empty. files: of chunks.
    vague: the query has no word that means anything by itself."""
    best, top = ranked[0]
    strength = _strength(signals, best, int(files[best]), [chunk for chunk, _ in ranked[:COVERING_HITS]])
    sure = 1 / (1 + math.exp(-strength - (VAGUE if vague else 0.0)))
    return [round(sure * math.sqrt(score / top), 4) for _, score in ranked]


def _strength(signals: Signals, best: int, file: int, first: Sequence[int]) -> float:
    chunks = signals.chunks
    return (
        BIAS
        + CHUNK_COVER * max(float(chunks["chunk_cover"][chunk]) for chunk in first)
        + FILE_COVER * float(signals.file_cover[file])
        + DEFINED * float(max(chunks["chunk_definition"][best], chunks["chunk_mention"][best]))
        + NAMED * float(chunks["chunk_name"][best])
        + FILE_NAMED * float(signals.files["stem_balance"][file])
    )
