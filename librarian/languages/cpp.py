"""What C++ defines beyond C: classes, templates, namespaces, methods outside of their class, aliases, concepts."""

from __future__ import annotations

from collections.abc import Sequence

import tree_sitter_cpp
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages import c
from librarian.languages.base import Definition, Rules, field, text
from librarian.languages.c_conditionals import without_alternatives
from librarian.languages.c_macros import without_macros

DEFINING = c.DEFINING | {
    "template_declaration",
    "namespace_definition",
    "namespace_alias_definition",
    "alias_declaration",
    "concept_definition",
    "friend_declaration",
}
TRANSPARENT = c.TRANSPARENT | {"expression_statement", "labeled_statement"}
TEMPLATED = (
    c.DEFINING - {"preproc_def", "preproc_function_def", "enumerator"}
    | {"alias_declaration", "concept_definition", "template_declaration", "friend_declaration"}
)  # fmt: skip


def define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    """What a node of C++ defines; a template defines what stands behind its parameters."""
    if node.type == "template_declaration":
        inner = next((child for child in node.named_children if child.type in TEMPLATED), None)
        return () if inner is None else define(inner, around)
    if node.type == "friend_declaration":
        inner = next((child for child in node.named_children if child.type == "function_definition"), None)
        return () if inner is None else define(inner, None)
    if node.type == "namespace_definition":
        return _namespace(node)
    if node.type in ("alias_declaration", "concept_definition", "namespace_alias_definition"):
        kind = "namespace" if node.type == "namespace_alias_definition" else "type"
        return [Definition(text(field(node, "name")), kind, None)]
    return c.define(node, around)


def _namespace(node: Node) -> Sequence[Definition]:
    """Without a name it qualifies nothing; `a::b` is two in one."""
    body = field(node, "body")
    name = text(field(node, "name"))
    *outer, inner = [part.strip().removeprefix("inline ") for part in name.split("::")]
    return [Definition(inner, "namespace", None, [] if body is None else [body], scope=".".join(outer))]


def _prepare(data: bytes) -> bytes:
    return without_macros(without_alternatives(data, cplusplus=True))


CPP = Rules(
    language="cpp",
    grammar=tree_sitter_cpp.language,
    defining=DEFINING,
    define=define,
    transparent=TRANSPARENT,
    prepare=_prepare,
)
