"""What comments say: about the definition that they stand before, and about the file that they begin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tree_sitter import Node

from librarian.languages.base import text

MAX_CHARS = 8_000
"""More of a comment is not read."""

_OPENING = re.compile(r"[ \t]*(?:/\*[*!]*(?!/)|\*(?![*/])|//[/!]*|#+)[ \t]?")
_LICENCE = re.compile(
    r"copyright|licen[cs]e|spdx-|\(c\) \d{4}|all rights reserved|redistribut|permission is hereby|warrant(?:y|ies)",
    re.IGNORECASE,
)
_DIRECTIVE = re.compile(
    r"(?:eslint|jshint|jslint|jscs|tslint|prettier|biome|istanbul|clang-format|@?ts-|@flow|@format|@jsx|globals?\b"
    r"|go:|\+build|vim?:|-\*-|</?reference|<reference|coding[:=]|region\b|nolint|noqa|pylint|mypy|type: ignore|!)"
    r"|[^\w]*$",
    re.IGNORECASE,
)
_BEFORE_HEADER = frozenset({"hash_bang_line", "shebang", "inner_attribute_item"})


def comment_text(comments: Sequence[Node]) -> str:
    """What comments say, without their markers; attributes and decorators among them say nothing."""
    return "\n".join(_lines(comments)).strip()


def header_text(root: Node, end: int) -> str:
    """What the first comments of a file, those before the byte `end`, say about it; no licence, no orders to tools."""
    for group in _groups(root, end):
        said: list[str] = []
        for paragraph in re.split(r"\n\s*\n", comment_text(group)):
            if _LICENCE.search(paragraph):
                break
            said.append("\n".join(line for line in paragraph.splitlines() if not _DIRECTIVE.match(line.strip())))
        if found := "\n\n".join(each for each in said if each.strip()).strip():
            return found
    return ""


def _groups(root: Node, end: int) -> Iterator[list[Node]]:
    """Comments on lines one after the other; a block of its own is a group of its own."""
    group: list[Node] = []
    next_row = 0
    for child in root.children:
        if child.type in _BEFORE_HEADER:
            continue
        if "comment" not in child.type or child.end_byte > end:
            break
        if group and (child.start_point[0] > next_row or text(child).startswith("/*")):
            yield group
            group = []
        group.append(child)
        # The line comments of some grammars end where the next line begins.
        next_row = child.end_point[0] + (child.end_point[1] > 0)
    if group:
        yield group


def _lines(comments: Sequence[Node]) -> Iterator[str]:
    size = 0
    for each in comments:
        if "comment" not in each.type:
            continue
        for line in text(each)[:MAX_CHARS].splitlines():
            yield _unmarked(line)
        size += each.end_byte - each.start_byte
        if size > MAX_CHARS:
            return


def _unmarked(line: str) -> str:
    found = _OPENING.match(line)
    line = line[found.end() :].rstrip() if found else line.rstrip()
    return line[:-2].rstrip("*").rstrip() if line.endswith("*/") else line
