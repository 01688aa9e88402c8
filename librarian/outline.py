"""What a file defines: its syntax tree read once, without recursion, as deep as definitions go and no deeper."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser, Tree

from librarian.languages.base import Definition, Rules
from librarian.languages.comments import header_text

MAX_NAME_CHARS = 400
"""Of a qualified name: thousands of definitions inside of each other must not make names of megabytes."""
READ_BYTES = 2_048
"""At a time: the text of each node is read in the same pieces, so that large ones are slow."""


class ParseTimeout(Exception):
    """A file took longer than it may."""


@dataclass(eq=False, slots=True)
class Item:
    """A definition and where it stands. start: with the comments (and stubs) before it that belong to it.

    parent: the item that it is inside of, None for none.
    """

    definition: Definition
    node: Node
    start: int
    end: int
    parent: Item | None
    comments: Sequence[Node]
    qualified_name: str = field(init=False)

    def __post_init__(self) -> None:
        around = self.parent.qualified_name if self.parent else ""
        parts = (around, self.definition.scope, self.definition.name)
        self.qualified_name = ".".join(part for part in parts if part)[:MAX_NAME_CHARS]


class Outline(NamedTuple):
    """All definitions in the order of the file, outer before inner. docstring: what the file says about itself."""

    items: Sequence[Item]
    docstring: str


def outline(data: bytes, rules: Rules, timeout_s: float) -> Outline:
    """What a file defines, and says about itself.

    Raises:
        ParseTimeout
    """
    source = data if rules.prepare is None else rules.prepare(data)
    reader = _Reader(data, rules, time.monotonic() + timeout_s)
    root = _parse(source, rules, timeout_s).root_node
    reader.read(root)
    reader.items.sort(key=lambda item: (item.start, -item.end))
    first = reader.items[0].start if reader.items else len(data)
    return Outline(reader.items, (rules.describe or header_text)(root, first))


def _parse(source: bytes, rules: Rules, timeout_s: float) -> Tree:
    deadline_s = time.monotonic() + timeout_s
    parser = Parser(Grammar(rules.grammar()))  # type: ignore[arg-type]  # the wheels are untyped
    try:
        # Only a source that is read piece by piece can be given up.
        return parser.parse(
            lambda offset, _: source[offset : offset + READ_BYTES],
            progress_callback=lambda *_: time.monotonic() > deadline_s,
        )
    except ValueError as error:
        raise ParseTimeout from error


class _Reader:
    def __init__(self, data: bytes, rules: Rules, deadline_s: float) -> None:
        self.items: list[Item] = []
        self._data = data
        self._rules = rules
        self._deadline_s = deadline_s
        self._waiting: list[tuple[Node, Item | None]] = []

    def read(self, root: Node) -> None:
        self._waiting = [(root, None)]
        while self._waiting:
            self._read_children(*self._waiting.pop())

    def _read_children(self, node: Node, parent: Item | None) -> None:
        rules = self._rules
        before: list[Node] = []  # comments and stubs that may belong to what comes next
        for child in node.children:
            if time.monotonic() > self._deadline_s:
                raise ParseTimeout
            kind = child.type
            if kind in rules.leading:
                before.append(child)
                continue
            if kind in rules.defining or kind in rules.wrappers:
                inner = self._unwrapped(child)
                if self._define(child, inner, parent, before):
                    continue
                if kind in rules.wrappers or kind in rules.transparent:
                    self._waiting.append((child, parent))
            elif kind in rules.transparent or kind == "ERROR":
                self._waiting.append((child, parent))
            elif not child.is_named and kind in (",", ";"):
                continue
            before.clear()

    def _unwrapped(self, node: Node) -> Node:
        rules = self._rules
        while node.type in rules.wrappers:
            inner = next((each for each in node.named_children if each.type in rules.defining | rules.wrappers), None)
            if inner is None:
                return node
            node = inner
        return node

    def _define(self, outer: Node, node: Node, parent: Item | None, before: list[Node]) -> bool:
        """Adds what the node defines. A stub that the next definition of its name takes over stays in `before`."""
        around = parent.definition.kind if parent else None
        found = self._rules.define(node, around) if node.type in self._rules.defining else ()
        if not found:
            return False
        leading = self._leading(outer, found[0].name, before)
        start = leading[0].start_byte if leading else outer.start_byte
        comments = [each for each in leading if each.type in self._rules.leading]
        for definition in found:
            item = Item(definition, node, start, outer.end_byte, parent, comments)
            self.items.append(item)
            self._waiting += [(inside, item) for inside in definition.inside]
        is_stub = len(found) == 1 and found[0].declaration and found[0].chunk_type is None
        if is_stub:
            before[:] = [*leading, outer]
        else:
            before.clear()
        return True

    def _leading(self, node: Node, name: str, before: list[Node]) -> list[Node]:
        """The end of `before` that has no blank line in it, but behind doc comments, and, where it is a stub, the same
        name."""
        taken: list[Node] = []
        first_row = node.start_point[0]
        for each in reversed(before):
            end_row = each.end_point[0] - (each.end_point[1] == 0 and each.end_point[0] > each.start_point[0])
            is_stub = each.type not in self._rules.leading
            if (is_stub and not self._is_stub_of(each, name)) or _is_inner(each):
                break
            if first_row - end_row > (2 if is_stub or self._is_doc(each) else 1) or not self._begins_line(each):
                break
            taken.append(each)
            first_row = each.start_point[0]
        return taken[::-1]

    def _is_doc(self, comment: Node) -> bool:
        """Of the kind that says what comes next, also where a blank line follows it, but not a file's header."""
        return self._data.startswith((b"/**", b"/*!"), comment.start_byte) and comment.start_byte > 0

    def _is_stub_of(self, node: Node, name: str) -> bool:
        last = next((item for item in reversed(self.items) if item.end == node.end_byte), None)
        return last is not None and last.definition.name == name

    def _begins_line(self, node: Node) -> bool:
        """A comment behind code on the same line belongs to that code."""
        line = self._data.rfind(b"\n", 0, node.start_byte) + 1
        return not self._data[line : node.start_byte].strip()


def _is_inner(comment: Node) -> bool:
    """Of what it stands inside of, as Rust's `//!`."""
    return any(each.type == "inner_doc_comment_marker" for each in comment.named_children)
