"""How surely a hit answers the query, 0..1, comparable between queries and libraries."""

from __future__ import annotations

import math
from collections.abc import Sequence

from librarian.ranking import Rows
from librarian.signals import Signals

BIAS = -4.0
CHUNK_COVER = 4.0
FILE_COVER = 3.0
DEFINED = 4.0

ANSWERABLE = 0.35
"""Below it the best hit is more likely chance than an answer."""


def relevance(signals: Signals, files: Rows, ranked: Sequence[tuple[int, float]]) -> list[float]:
    """Of each ranked chunk, falling with the rank. ranked: (chunk, score), best first, not empty."""
    best, top = ranked[0]
    chunk_cover = max(float(signals.chunks["chunk_cover"][chunk]) for chunk, _ in ranked[:3])
    strength = BIAS + CHUNK_COVER * chunk_cover + FILE_COVER * float(signals.file_cover[files[best]])
    strength += DEFINED * float(max(signals.chunks["chunk_definition"][best], signals.chunks["chunk_mention"][best]))
    sure = 1 / (1 + math.exp(-strength))
    return [round(sure * math.sqrt(max(score, 0.0) / top), 4) for _, score in ranked]
