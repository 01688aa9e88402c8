"""Markdown: a section from each heading, of either kind, to the next one of its rank; fences are not looked into.

Read by lines: the grammar makes no node of sections below an underlined heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ATX = re.compile(rb" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\r?\n?$")
_UNDERLINE = re.compile(rb" {0,3}(=+|-+)[ \t]*\r?\n?$")
_FENCE = re.compile(rb" {0,3}(`{3,}|~{3,})")
_NO_PARAGRAPH = re.compile(rb"\s*$| {4}|\t| {0,3}(?:[#>|*+-]|\d+[.)]\s|<!--|`{3}|~{3})")

MAX_NAME_CHARS = 120


class Section(NamedTuple):
    """A heading, and its section up to the next heading of the same or a higher rank. own_end: to the next of any."""

    name: str
    qualified_name: str
    start: int
    own_end: int
    end: int


class _Heading(NamedTuple):
    start: int
    rank: int
    name: str


def sections(data: bytes) -> list[Section]:
    """In the order of the file."""
    headings = list(_headings(data))
    found: list[Section] = []
    ends = _ends(headings, len(data))
    path: list[_Heading] = []
    for number, heading in enumerate(headings):
        while path and path[-1].rank >= heading.rank:
            path.pop()
        path.append(heading)
        own_end = headings[number + 1].start if number + 1 < len(headings) else len(data)
        qualified = ".".join(each.name for each in path)
        found.append(Section(heading.name, qualified, heading.start, own_end, ends[number]))
    return found


def _ends(headings: list[_Heading], size: int) -> list[int]:
    ends = [size] * len(headings)
    open_ones: list[int] = []
    for number, heading in enumerate(headings):
        while open_ones and headings[open_ones[-1]].rank >= heading.rank:
            ends[open_ones.pop()] = heading.start
        open_ones.append(number)
    return ends


def _headings(data: bytes) -> Iterator[_Heading]:
    fence = b""
    paragraph: tuple[int, bytes] | None = None  # the line before, where an underline makes a heading of it
    start = _front_matter_end(data)
    for line in data[start:].splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[:1]):
                fence = b""
            paragraph = None
        elif mark:
            fence, paragraph = mark[1], None
        elif atx := _ATX.match(line):
            yield _Heading(start, len(atx[1]), _name(atx[2] or b""))
            paragraph = None
        elif paragraph and (under := _UNDERLINE.match(line)):
            yield _Heading(paragraph[0], 1 if under[1].startswith(b"=") else 2, _name(paragraph[1]))
            paragraph = None
        else:
            paragraph = None if _NO_PARAGRAPH.match(line) else (start, line)
        start += len(line)


def _front_matter_end(data: bytes) -> int:
    if not data.startswith((b"---\n", b"---\r\n")):
        return 0
    end = data.find(b"\n---", 3)
    return 0 if end < 0 else data.find(b"\n", end + 1) + 1 or len(data)


def _name(heading: bytes) -> str:
    return heading.strip().decode("utf-8", "replace")[:MAX_NAME_CHARS] or "untitled"
