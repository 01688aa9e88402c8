"""What a language tells the chunker: which nodes define something, what it is called, and where its inside is.

To add a language, write a `Rules` in a file of its own and name it in languages/__init__.py. Most of it is tables of
node types; `define` looks at one node of a type in `defining` and says what it defines, if anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tree_sitter import Node

from librarian.chunks import ChunkType, Language, SymbolKind


class Definition(NamedTuple):
    """One thing that a node defines.

    name: empty where the code has none: a chunk is called after its file then, and what is no chunk only holds others.
    chunk_type: None where it is a symbol, without being a chunk of its own.
    inside: nodes whose children are looked at for inner definitions.
    scope: what its name is qualified with, behind the definitions that it is inside of: the receiver of a method.
    head_end: the byte at which its signature ends; None for all of it.
    head_start: the byte at which its signature begins, where that is not the start of the node.
    docstring: where the language keeps it inside; None takes the comments before it.
    """

    name: str
    kind: SymbolKind
    chunk_type: ChunkType | None = None
    inside: Sequence[Node] = ()
    scope: str = ""
    declaration: bool = False
    head_end: int | None = None
    docstring: str | None = None
    head_start: int | None = None


Define = Callable[[Node, SymbolKind | None], Sequence[Definition]]
"""Given a node and the kind of the definition that it is directly inside of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one language.

    transparent: types of nodes that are looked into and define nothing themselves. wrappers: those around one
    definition that belong to it, such as `export`. leading: types of nodes that belong to the definition they stand
    before: comments, attributes. prepare: makes of the file what the parser reads, of the same length. describe: what
    the file says about itself, given the tree and where its first definition begins; None takes its first comments.
    """

    language: Language
    grammar: Callable[[], object]
    defining: frozenset[str]
    define: Define
    transparent: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    leading: frozenset[str] = frozenset({"comment"})
    prepare: Callable[[bytes], bytes] | None = None
    describe: Callable[[Node, int], str] | None = None


def text(node: Node | None) -> str:
    """The source of a node, empty for none."""
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def field(node: Node | None, *names: str) -> Node | None:
    """The first of these fields that the node has."""
    if node is None:
        return None
    return next((found for name in names if (found := node.child_by_field_name(name)) is not None), None)


def head_end(node: Node) -> int:
    """Where the body of a definition begins; its end where it has none."""
    body = node.child_by_field_name("body")
    return node.end_byte if body is None else body.start_byte


def rows(node: Node) -> int:
    """How many lines a node spans, less one."""
    return node.end_point[0] - node.start_point[0]
