"""Text and identifiers as search terms: what BM25 counts, the same for chunks and for queries.

`openGate`, `open_gate` and "open gate" share the terms `open`, `gate` (stems of the parts) and
`opengate` (neighbouring parts joined), so that a question in plain words meets an identifier, and a whole identifier
counts for more than its parts.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import lru_cache
from pathlib import PurePosixPath

from librarian.chunks import Chunk
from librarian.stemming import stem

BODY_WEIGHT = 1
NAME_WEIGHT = 4
QUALIFIED_WEIGHT = 1
SIGNATURE_WEIGHT = 1
DOCSTRING_WEIGHT = 1
STEM_WEIGHT = 3
FOLDER_WEIGHT = 1
FOLDERS = 3
"""The last folders of a path; those above say little of one file."""

MAX_WORD_CHARS = 80
"""Longer ones are data, not words."""

_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def words(text: str) -> list[str]:
    """Identifiers, words and numbers as they stand in the text."""
    return [word for word in _WORD.findall(text) if len(word) <= MAX_WORD_CHARS]


@lru_cache(maxsize=100_000)
def parts(identifier: str) -> tuple[str, ...]:
    """`drawGPUFrame_v2` → draw, gpu, frame, v, 2. Other alphabets are split at underscores only."""
    found = _PART.findall(identifier) if identifier.isascii() else identifier.split("_")
    return tuple(part.lower() for part in found if part)


@lru_cache(maxsize=200_000)
def terms_of(word: str) -> tuple[str, ...]:
    """Stems of the parts, then each two neighbours joined, then all of them joined."""
    pieces = parts(word)
    if len(pieces) < 2:
        return tuple(stem(piece) for piece in pieces)
    pairs = [left + right for left, right in itertools.pairwise(pieces)]
    whole = ["".join(pieces)] if len(pieces) > 2 else []
    return tuple(dict.fromkeys([*(stem(piece) for piece in pieces), *pairs, *whole]))


def chunk_terms(path: str, chunk: Chunk, own_text: str) -> dict[str, int]:
    """BM25 weights of a chunk: how often it has each term, more where it stands in a place that names the chunk."""
    counts: Counter[str] = Counter()
    _count(counts, own_text, BODY_WEIGHT)
    _count(counts, chunk.name, NAME_WEIGHT)
    _count(counts, chunk.qualified_name, QUALIFIED_WEIGHT)
    _count(counts, chunk.signature, SIGNATURE_WEIGHT)
    _count(counts, chunk.docstring, DOCSTRING_WEIGHT)
    place = PurePosixPath(path)
    _count(counts, place.stem, STEM_WEIGHT)
    _count(counts, " ".join(place.parent.parts[-FOLDERS:]), FOLDER_WEIGHT)
    return counts


def _count(counts: Counter[str], text: str, weight: int) -> None:
    for word, times in Counter(words(text)).items():
        for term in terms_of(word):
            counts[term] += times * weight
