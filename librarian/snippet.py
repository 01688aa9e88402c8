"""The few lines of a chunk that a reader sees in a list of hits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from itertools import accumulate

SNIPPET_LINES = 8
SNIPPET_CHARS = 600
LOOKED_AT_LINES = 400
"""Of a longer chunk only so many are looked at."""
MIN_CHARS = 3
"""Of a term, to be looked for."""

INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])
"""Zero-width and direction-changing characters: they can make code look like what it is not (CVE-2021-42574)."""


def snippet(content: str, terms: Collection[str] = ()) -> str:
    """The first line, and the SNIPPET_LINES that say most of the query; from the first line where none says anything.

    terms: those of the query, see read_query.
    """
    lines = content.splitlines()[:LOOKED_AT_LINES]
    first = _best_start(lines, frozenset(terms))
    shown = lines[first : first + SNIPPET_LINES]
    if first:
        shown = [next(line for line in lines if line.strip()), "…", *shown]
    return _cut("\n".join(shown).translate(INVISIBLE).strip("\n"))


def _best_start(lines: list[str], terms: frozenset[str]) -> int:
    """Where the window with the most different terms begins; the first of equal ones."""
    if len(lines) <= SNIPPET_LINES or not terms:
        return 0
    said = _said(lines, terms)
    rows = sorted(said)
    best, best_count = 0, len(_between(said, rows, 0, SNIPPET_LINES))
    for position, row in enumerate(rows):
        near = rows[position : position + SNIPPET_LINES]
        if sum([len(said[each]) for each in near]) > best_count:  # else it cannot say more
            count = len(_between(said, near, row, row + SNIPPET_LINES))
            if count > best_count:
                best, best_count = row, count
    return min(best, len(lines) - SNIPPET_LINES)


def _between(said: dict[int, set[str]], rows: Collection[int], start: int, end: int) -> set[str]:
    found: set[str] = set()
    for row in rows:
        if start <= row < end:
            found |= said[row]
    return found


def _said(lines: list[str], terms: frozenset[str]) -> dict[int, set[str]]:
    """Which terms stand in which line. Only their beginnings are looked for, as terms have lost their endings: to
    split every line of a long class into words would take longer than the search."""
    lowered = [line.lower() for line in lines]
    text = "\n".join(lowered)
    ends = list(accumulate([len(line) + 1 for line in lowered]))
    said: dict[int, set[str]] = {}
    for term in terms:
        beginning = term[: max(MIN_CHARS, len(term) - 1)]
        found = text.find(beginning) if len(beginning) >= MIN_CHARS else -1
        while found >= 0:
            row = bisect_right(ends, found)
            said.setdefault(row, set()).add(term)
            found = text.find(beginning, ends[row])  # once a line
    return said


def _cut(text: str) -> str:
    return text if len(text) <= SNIPPET_CHARS else text[: SNIPPET_CHARS - 1] + "…"
