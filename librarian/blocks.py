"""Text that no definition owns, cut where its author left a blank line."""

from __future__ import annotations

from collections.abc import Iterator

from librarian.chunks import Span

MAX_BYTES = 2_500
MAX_LINES = 60
MIN_LINES = 8
"""Of a block that ends at a blank line."""


def cut_blocks(data: bytes, start: int, end: int) -> list[Span]:
    """Covers the bytes from `start` to `end` with blocks of whole lines, none of them blank unless all is.

    A line that is longer than a block may be is a block of its own.
    """
    blocks: list[Span] = []
    first, blank, lines = start, None, 0
    for line_start, line_end in _lines(data, start, end):
        if (lines >= MAX_LINES or line_end - first > MAX_BYTES) and line_start > first:
            cut = line_start if blank is None else blank
            blocks.append((first, cut))
            first, blank = cut, None
            lines = data.count(b"\n", first, line_start)
        lines += 1
        if lines > MIN_LINES and not data[line_start:line_end].strip():
            blank = line_end
    if first < end:
        blocks.append((first, end))
    return _without_blank(blocks, data)


def _lines(data: bytes, start: int, end: int) -> Iterator[Span]:
    while start < end:
        found = data.find(b"\n", start, end)
        line_end = end if found < 0 else found + 1
        yield start, line_end
        start = line_end


def _without_blank(blocks: list[Span], data: bytes) -> list[Span]:
    """Blank ones are added to the one before, or the one after."""
    merged: list[Span] = []
    for start, end in blocks:
        if merged and not data[start:end].strip():
            merged[-1] = (merged[-1][0], end)
        elif len(merged) == 1 and not data[slice(*merged[0])].strip():
            merged = [(merged[0][0], end)]
        else:
            merged.append((start, end))
    return merged
