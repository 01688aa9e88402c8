"""What a parsed file defines, found without recursion and without looking at every node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tree_sitter import Node

from librarian.chunks import ChunkType, SymbolKind
from librarian.languages.base import Definition, Rules, comment_text

MAX_SIGNATURE_CHARS = 500

_SIGNATURE_TAIL = re.compile(r"(?:\s*(?:\{|:|=>|=|\())+$")


@dataclass(slots=True)
class Unit:
    """What becomes a chunk. start, end: bytes, with the comments that belong to it."""

    name: str
    qualified_name: str
    chunk_type: ChunkType
    start: int
    end: int
    signature: str = ""
    docstring: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A symbol whose chunk is not known yet. start, end: bytes."""

    name: str
    qualified_name: str
    kind: SymbolKind
    start: int
    end: int
    declaration: bool = False


@dataclass(slots=True)
class Outline:
    """units, symbols: by start byte, outer before inner."""

    units: list[Unit] = field(default_factory=list)
    symbols: list[Found] = field(default_factory=list)


@dataclass(slots=True)
class _Level:
    """Siblings that are being looked at. leading: the comments directly before the next of them. stub: name and first
    byte of the declarations directly before it."""

    nodes: Iterator[Node]
    prefix: str
    around: SymbolKind | None
    leading: list[Node] = field(default_factory=list)
    stub: tuple[str, int] | None = None
    last: Unit | None = None


def outline(root: Node, rules: Rules, data: bytes, stem: str) -> Outline:
    """Everything that the file defines; what has no name is called `stem`."""
    found = Outline()
    levels = [_Level(iter(root.children), "", None)]
    while levels:
        level = levels[-1]
        node = next(level.nodes, None)
        if node is None:
            levels.pop()
        elif node.type in rules.leading:
            _comment(level, node, data)
        elif definitions := _definitions(node, rules, level.around):
            levels += reversed(_record(found, level, node, definitions, data, stem))
        else:
            level.leading.clear()
            level.stub = None
            if node.type in rules.transparent or node.type == "ERROR" or node.type in rules.wrappers:
                levels.append(_Level(iter(node.children), level.prefix, level.around))
    return found


def _definitions(node: Node, rules: Rules, around: SymbolKind | None) -> list[Definition]:
    while node.type in rules.wrappers:
        inner = next((child for child in node.named_children if child.type not in rules.leading), None)
        if inner is None:
            return []
        node = inner
    return list(rules.define(node, around)) if node.type in rules.defining else []


def _comment(level: _Level, node: Node, data: bytes) -> None:
    """Keeps a comment for the definition that follows it, or gives it to the one that it stands behind."""
    if level.last is not None and b"\n" not in data[level.last.end : node.start_byte]:
        level.last.end = max(level.last.end, _end(node, data))
        return
    if level.leading and not _adjacent(level.leading[-1], node.start_byte, data):
        level.leading.clear()
    level.leading.append(node)


def _end(node: Node, data: bytes) -> int:
    """Some grammars count the newline behind a line comment as part of it."""
    end = node.end_byte
    return end - 1 if data[end - 1 : end] == b"\n" else end


def _adjacent(before: Node, start: int, data: bytes) -> bool:
    return data.count(b"\n", _end(before, data), start) <= 1


def _record(
    found: Outline, level: _Level, node: Node, definitions: list[Definition], data: bytes, stem: str
) -> list[_Level]:
    """Notes what a node defines. Returns the levels inside of it."""
    leading = level.leading if level.leading and _adjacent(level.leading[-1], node.start_byte, data) else []
    start = leading[0].start_byte if leading else node.start_byte
    inner: list[_Level] = []
    unit: Unit | None = None
    stub: tuple[str, int] | None = None
    for each in definitions:
        name = each.name or (stem if each.chunk_type else "")
        scope = ".".join(part for part in (level.prefix, each.scope) if part)
        qualified = f"{scope}.{name}" if scope and name else name or scope
        if each.chunk_type is not None and unit is None:
            stubs = level.stub is not None and level.stub[0] == name
            start = level.stub[1] if stubs and level.stub else start
            docstring = comment_text(leading) if each.docstring is None else each.docstring
            unit = Unit(name, qualified, each.chunk_type, start, _end(node, data), _signature(node, each, data))
            unit.docstring = docstring
            found.units.append(unit)
        elif each.declaration:
            stub = (name, level.stub[1] if level.stub and level.stub[0] == name else start)
        if each.name:
            found.symbols.append(Found(name, qualified, each.kind, node.start_byte, _end(node, data), each.declaration))
        inner += [_Level(iter(body.children), qualified, each.kind) for body in each.inside]
    level.leading, level.stub, level.last = [], stub, unit
    return inner


def _signature(node: Node, definition: Definition, data: bytes) -> str:
    start = node.start_byte if definition.head_start is None else definition.head_start
    end = node.end_byte if definition.head_end is None else definition.head_end
    head = data[start : min(end, start + 4 * MAX_SIGNATURE_CHARS)].decode("utf-8", "replace")
    return _SIGNATURE_TAIL.sub("", " ".join(head.split()))[:MAX_SIGNATURE_CHARS].strip()
