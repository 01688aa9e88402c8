"""What a query asks for: its search terms, the identifiers in it, and the kinds of files it speaks of."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from librarian.stemming import stem
from librarian.tokens import parts, terms_of, words

MAX_QUERY_CHARS = 2_000
MAX_QUERY_WORDS = 64
"""More of a query is not read: a pasted file would say nothing more precise."""

JOINED_WEIGHT = 1.0
"""Of two neighbouring words that are one identifier in the code."""

STOP_WORDS = frozenset(
    """
    a about all an and any are as at be been being but by can could did do does each for from had has have how i if in
    into is it its me my no nor not of on onto or our out over per shall she should show so some such than that the
    their them then there these they this those through to too under until up upon us via was we were what when where
    whether which while who whom whose why will with within without would you your
    """.split()  # noqa: SIM905 — as a list it would be 150 lines
)

_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*(?:(?:::|\.|#|->)[A-Za-z_$~][\w$]*)*")
_SEPARATOR = re.compile(r"::|\.|#|->")


@dataclass(frozen=True, slots=True)
class Query:
    """text: as asked, cut to MAX_QUERY_CHARS. terms: BM25 terms and what each counts. keywords: stems of the words
    that carry meaning, in order. symbols: identifiers in it, qualified ones as tuples of their parts.
    bare: it is nothing but one identifier. vague: it has no word that means anything by itself.
    """

    text: str
    terms: dict[str, float]
    keywords: tuple[str, ...]
    symbols: tuple[tuple[str, ...], ...]
    bare: bool
    vague: bool = False


def read_query(text: str) -> Query:
    text = text[:MAX_QUERY_CHARS].strip()
    spoken = words(text)[:MAX_QUERY_WORDS]
    telling = [word for word in spoken if word.lower() not in STOP_WORDS] or spoken
    vague = not any(len(word) > 1 and word.lower() not in STOP_WORDS for word in spoken)
    terms: dict[str, float] = {}
    for word in telling:
        for term in terms_of(word):
            terms[term] = 1.0
    flat = [part for word in telling for part in parts(word)]
    for left, right in itertools.pairwise(flat):
        terms.setdefault(left + right, JOINED_WEIGHT)
    bare = _IDENTIFIER.fullmatch(text) is not None
    keywords = tuple(dict.fromkeys(stem(part) for part in flat))
    return Query(text, terms, keywords, _symbols(text, bare), bare, vague)


def _symbols(text: str, bare: bool) -> tuple[tuple[str, ...], ...]:
    found = dict.fromkeys(_IDENTIFIER.findall(text))
    chosen = [each for each in found if bare or _is_code(each)]
    return tuple(tuple(part for part in _SEPARATOR.split(each) if part) for each in chosen)


def _is_code(word: str) -> bool:
    """Whether a word of a sentence is an identifier: no plain word has a capital, digit or sign inside."""
    inner = word[1:]
    return (
        _SEPARATOR.search(word) is not None
        or "_" in word.strip("_")
        or word.startswith(("_", "$"))
        or (any(char.isupper() for char in inner) and any(char.islower() for char in word))
    )
