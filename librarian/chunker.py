"""Cuts a file into chunks: what its language defines, and blocks of all that is left."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from librarian.blocks import cut_blocks
from librarian.chunks import Chunk, ChunkedFile, ChunkType, Language, Span, Symbol
from librarian.languages import language_of, rules_of
from librarian.languages.comments import comment_text
from librarian.languages.markdown import sections
from librarian.outline import Item, Outline, ParseTimeout, outline

MAX_SIGNATURE_CHARS = 500
MAX_DOCSTRING_CHARS = 4_000
MAX_NAME_CHARS = 200
SCRAP_BYTES = 24
"""Less than this between two definitions, white space not counted, is no chunk: a closing brace, `try:`."""

_SOLID = re.compile(rb"\S")
_CODE = re.compile(rb"[^ \t\r\n;,]")


def chunk_file(path: str, data: bytes, timeout_s: float) -> ChunkedFile:
    """All chunks of a file; never raises. What cannot be parsed within `timeout_s` is cut as text, and says so."""
    language = language_of(path, data)
    layout = _Layout(path, data)
    try:
        return _cut(layout, language, path, timeout_s)
    except ParseTimeout:
        problem = f"parsing it took longer than {timeout_s:g} s; it is cut as plain text"
    except Exception as error:  # One odd file that a language's rules stumble over must not end an ingest.
        problem = f"{type(error).__name__} in the rules of {language}: {error}; cut as plain text"
    return _plain(layout, language, problem)


def _cut(layout: _Layout, language: Language, path: str, timeout_s: float) -> ChunkedFile:
    if language == "markdown":
        return _markdown(layout)
    rules = rules_of(language, path)
    if rules is None:
        return _plain(layout, "unknown")
    return _code(layout, language, outline(layout.data, rules, timeout_s))


class _Layout:
    """Where the lines of a file are."""

    def __init__(self, path: str, data: bytes) -> None:
        self.stem = PurePosixPath(path).name.partition(".")[0] or PurePosixPath(path).name
        self.data = data
        self.starts = [0]
        position = data.find(b"\n")
        while position >= 0:
            self.starts.append(position + 1)
            position = data.find(b"\n", position + 1)

    def line_of(self, offset: int) -> int:
        return bisect_right(self.starts, offset)

    def lines_of(self, start: int, end: int) -> tuple[int, int]:
        """The first and last line of what is not blank."""
        solid = _SOLID.search(self.data, start, end)
        if solid is None:
            return self.line_of(start), self.line_of(start)
        return self.line_of(solid.start()), self.line_of(self._solid_end(start, end) - 1)

    def _solid_end(self, start: int, end: int) -> int:
        """Behind the last byte that is not blank; found without a copy of all before it."""
        while start < end:
            piece = max(start, end - 64)
            solid = len(self.data[piece:end].rstrip())
            if solid:
                return piece + solid
            end = piece
        return start

    def whole_lines(self, start: int, end: int) -> Span:
        """With the blanks before, and the rest of the last line, where only punctuation is there."""
        line = self.starts[self.line_of(start) - 1]
        if _SOLID.search(self.data, line, start) is None:
            start = line
        number = self.line_of(end)
        line_end = self.starts[number] if number < len(self.starts) else len(self.data)
        is_at_line_start = end > start and end == self.starts[number - 1]
        if not is_at_line_start and _CODE.search(self.data, end, line_end) is None:
            end = line_end
        return start, end


class _Part:
    """A chunk in the making. item: None for what no definition owns. is_outer: it is inside of no other."""

    __slots__ = ("chunk_type", "end", "is_outer", "item", "owned", "start")
    chunk_type: ChunkType

    def __init__(self, start: int, end: int, chunk_type: ChunkType, item: Item | None, owned: list[Span]) -> None:
        self.start = start
        self.end = end
        self.chunk_type = chunk_type
        self.item = item
        self.is_outer = True
        self.owned = owned


def _plain(layout: _Layout, language: Language, problem: str | None = None) -> ChunkedFile:
    parts = [_Part(*span, "block", None, [span]) for span in cut_blocks(layout.data, 0, len(layout.data))]
    return ChunkedFile(language, tuple(_chunk(part, layout, []) for part in parts), (), problem)


def _markdown(layout: _Layout) -> ChunkedFile:
    found = sections(layout.data)
    head = cut_blocks(layout.data, 0, found[0].start if found else len(layout.data))
    chunks = [_chunk(_Part(*span, "block", None, [span]), layout, []) for span in head]
    symbols: list[Symbol] = []
    for each in found:
        first, last = layout.lines_of(each.start, each.end)
        symbols.append(Symbol(each.name, each.qualified_name, "section", first, last, len(chunks)))
        owned = ((each.start, each.own_end),)
        chunks.append(Chunk(each.name, each.qualified_name, "section", first, last, each.start, each.end, owned))
    return ChunkedFile("markdown", tuple(chunks), tuple(symbols))


def _code(layout: _Layout, language: Language, outlined: Outline) -> ChunkedFile:
    items = outlined.items
    defined = _defined(layout, items)
    names = sorted(
        item.node.start_byte for item in items if item not in defined and item.definition.kind != "namespace"
    )
    parts = sorted(
        [
            *defined.values(),
            *_leftovers(layout, [part for part in defined.values() if part.is_outer], names),
        ],
        key=lambda part: (part.start, -part.end),
    )
    loose = [item for item in items if item not in defined and item.definition.name]
    loose.sort(key=lambda item: item.node.start_byte)
    chunks = [_chunk(part, layout, loose) for part in parts]
    if chunks and chunks[0].chunk_type == "module":
        chunks[0] = replace(chunks[0], docstring=outlined.docstring[:MAX_DOCSTRING_CHARS])
    return ChunkedFile(language, tuple(chunks), tuple(_symbols(layout, items, parts)))


def _defined(layout: _Layout, items: Sequence[Item]) -> dict[Item, _Part]:
    """A part for each definition that is a chunk: whole lines, inside its parent, behind its elder siblings."""
    made: dict[Item, _Part] = {}
    around: dict[Item | None, _Part | None] = {None: None}  # of each item the innermost part that holds it, or is it
    free: dict[_Part | None, int] = {None: 0}  # where the next one inside of it may begin
    for item in items:
        parent = around[item] = around[item.parent]
        if item.definition.chunk_type is None:
            continue
        start, end = layout.whole_lines(item.start, item.end)
        start = max(start, free[parent])
        end = min(end, parent.end if parent else len(layout.data))
        if end <= start or start > item.node.start_byte:
            continue
        if parent:
            _disown(parent, start, end)
        made[item] = part = _Part(start, end, item.definition.chunk_type, item, [(start, end)])
        part.is_outer = parent is None
        around[item] = part
        free[parent], free[part] = end, start
    return made


def _disown(parent: _Part, start: int, end: int) -> None:
    """Gives part of its last span to an inner one."""
    first, last = parent.owned.pop()
    parent.owned += [span for span in ((first, start), (end, last)) if span[0] < span[1]]
    if not parent.owned:
        parent.owned.append((end, end))


def _leftovers(layout: _Layout, outer: Sequence[_Part], names: Sequence[int]) -> list[_Part]:
    """What lies between the outermost parts; blanks, and scraps that define nothing, are given to a neighbour.

    names: where something is defined that is no part, sorted.
    """
    found: list[_Part] = []
    position = 0
    elder: _Part | None = None
    for part in [*outer, None]:
        end = len(layout.data) if part is None else part.start
        if position < end:
            gap = layout.data[position:end]
            is_scrap = len(b"".join(gap.split())) < SCRAP_BYTES and bisect_left(names, position) == bisect_left(
                names, end
            )
            opens = gap.rstrip().endswith((b"{", b":", b"(")) or _stands_before(gap)
            if is_scrap and gap.strip() and part is not None and (opens or elder is None):
                part.start = position + len(gap) - len(gap.lstrip())
                part.owned.insert(0, (position, end))
            elif is_scrap and gap.strip() and elder is not None:
                elder.end = position + len(gap.rstrip())
                elder.owned.append((position, end))
            elif gap.strip() or (elder is None and part is None):
                kind: ChunkType = "block" if found else "module"
                blocks = cut_blocks(layout.data, position, end)
                found += [_Part(*span, "block" if number else kind, None, [span]) for number, span in enumerate(blocks)]
            elif elder is not None:
                elder.owned.append((position, end))
            elif part is not None:
                part.owned.insert(0, (position, end))
        if part is not None:
            position, elder = part.end, part
    return found


def _stands_before(gap: bytes) -> bool:
    """Whether a blank line parts it from what is before it, and none from what is behind it."""
    blank_before = gap[: len(gap) - len(gap.lstrip())].count(b"\n") > 0
    return blank_before and gap[len(gap.rstrip()) :].count(b"\n") < 2


def _chunk(part: _Part, layout: _Layout, loose: Sequence[Item]) -> Chunk:
    first, last = layout.lines_of(part.start, part.end)
    owned = tuple(part.owned)
    if part.item is None:
        inner = bisect_left(loose, part.start, key=lambda item: item.node.start_byte)
        is_named = inner < len(loose) and loose[inner].node.start_byte < part.end and part.chunk_type == "block"
        name = loose[inner].definition.name if is_named else layout.stem
        return Chunk(
            name[:MAX_NAME_CHARS], name[:MAX_NAME_CHARS], part.chunk_type, first, last, part.start, part.end, owned
        )
    definition, node = part.item.definition, part.item.node
    name = (definition.name or layout.stem)[:MAX_NAME_CHARS]
    docstring = definition.docstring or comment_text(part.item.comments)
    return Chunk(
        name,
        (part.item.qualified_name if definition.name else name)[:MAX_NAME_CHARS],
        part.chunk_type,
        first,
        last,
        part.start,
        part.end,
        owned,
        _signature(layout.data, _or(definition.head_start, node.start_byte), _or(definition.head_end, node.end_byte)),
        docstring[:MAX_DOCSTRING_CHARS],
    )


def _or(byte: int | None, default: int) -> int:
    return default if byte is None else byte


def _signature(data: bytes, start: int, end: int) -> str:
    lines = data[start : min(end, start + 4 * MAX_SIGNATURE_CHARS)].decode("utf-8", "replace").split()
    return " ".join(lines)[:MAX_SIGNATURE_CHARS].rstrip(" :={").strip()


def _symbols(layout: _Layout, items: Sequence[Item], parts: Sequence[_Part]) -> list[Symbol]:
    position = {part.item: number for number, part in enumerate(parts) if part.item is not None}
    owners = sorted((span[0], span[1], number) for number, part in enumerate(parts) for span in part.owned)
    found: list[Symbol] = []
    for item in items:
        definition, node = item.definition, item.node
        chunk = position.get(item)
        if chunk is None and definition.name:
            row = bisect_right(owners, (node.start_byte, len(layout.data), len(parts))) - 1
            chunk = owners[max(row, 0)][2] if owners else None
        name = definition.name or (layout.stem if chunk is not None and item in position else "")
        if chunk is None or not name:
            continue
        lines = layout.lines_of(node.start_byte, node.end_byte)
        qualified = item.qualified_name if definition.name else name
        found.append(
            Symbol(
                name[:MAX_NAME_CHARS],
                qualified[:MAX_NAME_CHARS],
                definition.kind,
                *lines,
                chunk,
                definition.declaration,
            )
        )
    return found
