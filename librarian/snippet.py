"""The few lines of a chunk that a reader sees in a list of hits."""

from __future__ import annotations

from collections.abc import Collection

from librarian.tokens import terms_of, words

SNIPPET_LINES = 8
SNIPPET_CHARS = 600

INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])
"""Zero-width and direction-changing characters: they can make code look like what it is not (CVE-2021-42574)."""


def snippet(content: str, terms: Collection[str] = ()) -> str:
    """The first line, and the SNIPPET_LINES that say most of the query; from the first line where none says anything.

    terms: those of the query, see read_query.
    """
    lines = content.translate(INVISIBLE).splitlines()
    first = _best_start(lines, frozenset(terms))
    shown = lines[first : first + SNIPPET_LINES]
    if first:
        shown = [next(line for line in lines if line.strip()), "…", *shown]
    return _cut("\n".join(shown).strip("\n"))


def _best_start(lines: list[str], terms: frozenset[str]) -> int:
    """Where the window with the most different terms begins; the first of equal ones."""
    if len(lines) <= SNIPPET_LINES or not terms:
        return 0
    said = [terms.intersection(term for word in words(line) for term in terms_of(word)) for line in lines]
    counts = [
        len(frozenset().union(*said[start : start + SNIPPET_LINES])) for start in range(len(lines) - SNIPPET_LINES + 1)
    ]
    return counts.index(max(counts))


def _cut(text: str) -> str:
    return text if len(text) <= SNIPPET_CHARS else text[: SNIPPET_CHARS - 1] + "…"
