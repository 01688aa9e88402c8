"""Markdown: a section from each heading, of either kind, to the next one of its rank.

Fences, HTML blocks, comments and front matter are not looked into. Read by lines: the grammar makes no node of
sections below an underlined heading. The rules are those of CommonMark 0.31, sections 4.1 to 4.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ATX = re.compile(rb" {0,3}(#{1,6})(?=[ \t\r\n]|$)")
_UNDERLINE = re.compile(rb" {0,3}(=+|-+)[ \t]*\r?\n?$")
_FENCE = re.compile(rb" {0,3}(`{3,}(?=[^`]*$)|~{3,})", re.DOTALL)
_BREAK = re.compile(
    rb"\s*$| {4}|\t| {0,3}(?:[#|]|(?:[*_-][ \t]*){3,}\r?\n?$|(>|[*+-][ \t\r\n]|\d{1,9}[.)][ \t]))", re.DOTALL
)
"""What is no line of a paragraph, or ends it; in group 1, what lines without a mark of their own may go on."""
_HTML = re.compile(
    rb" {0,3}<(?:(!--)|(script|pre|style|textarea)(?=[\s>])|(\?)|(![A-Za-z])|(!\[CDATA\[)|"
    rb"(/?(?:address|article|aside|blockquote|body|center|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption|figure"
    rb"|footer|form|frame|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|nav|ol|optgroup|option|p|param"
    rb"|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul)(?=[\s/>]|$)))",
    re.IGNORECASE,
)
_HTML_ENDS = (b"-->", b"</", b"?>", b">", b"]]>")
"""Of the kinds of HTML block in the order of `_HTML`; the last one ends at a blank line."""

_BOM = b"\xef\xbb\xbf"
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\](?:\([^()\s]{0,500}\)|\[[^\[\]]{0,100}\])")
_MARKUP = re.compile(
    r"</?(?:a|b|br|code|em|i|img|kbd|small|span|strong|sub|sup)\b[^<>]{0,500}>|\*{1,3}(?=\S)|(?<=\S)\*{1,3}|`|\{#[\w-]{1,99}\}$"
)

MAX_NAME_CHARS = 120
MAX_HEADING_BYTES = 1_000
"""Of a heading's text, that much is looked at."""


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
    headings = list(_Headings(data).read())
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


class _Headings:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._fence = b""  # what opened the fence that we are in
        self._html_end: bytes | None = None  # what ends the HTML block that we are in, empty for a blank line
        self._is_item = False  # of a list, or a quote, up to the next blank line
        self._paragraph: int | None = None  # where the one that we are in began: an underline makes a heading of it

    def read(self) -> Iterator[_Heading]:
        start = _front_matter_end(self._data)
        while start < len(self._data):
            end = self._data.find(b"\n", start) + 1 or len(self._data)
            line = self._data[start:end]
            if start == 0:
                line = line.removeprefix(_BOM)
            if not self._is_inside(line):
                yield from self._read_line(start, line)
            start = end

    def _is_inside(self, line: bytes) -> bool:
        """Of a fence or HTML, the line that ends it too."""
        if self._fence:
            mark = _FENCE.match(line)
            if mark and mark[1].startswith(self._fence) and not line.strip().strip(self._fence[:1]):
                self._fence = b""
            return True
        if self._html_end is None:
            return False
        if self._html_end in line.lower() if self._html_end else not line.strip():
            self._html_end = None
        return True

    def _read_line(self, start: int, line: bytes) -> Iterator[_Heading]:
        paragraph, self._paragraph = self._paragraph, None
        if mark := _FENCE.match(line):
            self._fence = mark[1]
        elif atx := _ATX.match(line):
            yield _Heading(start, len(atx[1]), _name(_without_closing(line[atx.end() :])))
        elif paragraph is not None and (under := _UNDERLINE.match(line)):
            name = _name(self._data[paragraph : min(start, paragraph + MAX_HEADING_BYTES)].removeprefix(_BOM))
            yield _Heading(paragraph, 1 if under[1].startswith(b"=") else 2, name)
        elif html := _HTML.match(line):
            kind = html.lastindex or 0
            end = b"" if kind > len(_HTML_ENDS) else _HTML_ENDS[kind - 1]
            end = end + html[kind].lower() if end == b"</" else end
            self._html_end = None if end and end in line[html.end() :].lower() else end
        elif found := _BREAK.match(line):
            self._is_item = found[1] is not None
        elif not self._is_item:
            self._paragraph = start if paragraph is None else paragraph


def _front_matter_end(data: bytes) -> int:
    text = data.removeprefix(_BOM)
    if not text.startswith((b"---\n", b"---\r\n")):
        return 0
    end = data.find(b"\n---", 3)
    return 0 if end < 0 else data.find(b"\n", end + 1) + 1 or len(data)


def _without_closing(text: bytes) -> bytes:
    """A heading may end with as many `#` as it likes, behind a blank."""
    text = text.strip()
    opened = text.rstrip(b"#")
    return opened if not opened or opened[-1:] in b" \t" else text


def _name(heading: bytes) -> str:
    """As a reader sees it: without links and emphasis."""
    said = heading[:MAX_HEADING_BYTES].decode("utf-8", "replace")
    plain = _MARKUP.sub("", _LINK.sub(r"\1", said))
    return (" ".join(plain.split()) or " ".join(said.split()))[:MAX_NAME_CHARS] or "untitled"
