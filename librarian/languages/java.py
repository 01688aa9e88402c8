"""What Java defines: classes, interfaces, enums, records and annotations, nested as they like, and their members."""

from __future__ import annotations

from collections.abc import Sequence

import tree_sitter_java
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages.base import Definition, Rules, field, head_end, text

TYPES: dict[str, SymbolKind] = {
    "class_declaration": "class",
    "interface_declaration": "interface",
    "enum_declaration": "enum",
    "record_declaration": "class",
    "annotation_type_declaration": "interface",
}
METHODS = frozenset(
    {
        "method_declaration",
        "constructor_declaration",
        "compact_constructor_declaration",
        "annotation_type_element_declaration",
    }
)
FIELDS = frozenset({"field_declaration", "constant_declaration"})
DEFINING = frozenset(TYPES) | METHODS | FIELDS | {"enum_constant"}
TRANSPARENT = frozenset({"class_body", "interface_body", "enum_body", "enum_body_declarations", "annotation_type_body"})


def define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    name, body = text(field(node, "name")), field(node, "body")
    if node.type in TYPES:
        inside = [] if body is None else [body]
        return [
            Definition(name, TYPES[node.type], "class", inside, head_start=head_start(node), head_end=head_end(node))
        ]
    if node.type in METHODS:
        # Abstract or in an interface: this is the method as its users know it, with its documentation.
        return [
            Definition(
                name, "method", "method", declaration=body is None, head_start=head_start(node), head_end=head_end(node)
            )
        ]
    if node.type == "enum_constant":
        return [Definition(name, "constant", None, [] if body is None else [body])]
    kind = "constant" if _is_constant(node) else "field"
    declarators = node.children_by_field_name("declarator")
    return [Definition(text(field(each, "name")), kind, None) for each in declarators]


def head_start(node: Node) -> int:
    """A signature begins behind the annotations."""
    for child in node.children:
        parts = child.children if child.type == "modifiers" else [child]
        behind = next((each for each in parts if not each.type.endswith("annotation")), None)
        if behind is not None:
            return behind.start_byte
    return node.start_byte


def _is_constant(node: Node) -> bool:
    """Fields of interfaces are constants without saying so."""
    if node.type == "constant_declaration":
        return True
    modifiers = next((child for child in node.children if child.type == "modifiers"), None)
    return modifiers is not None and {"static", "final"} <= {child.type for child in modifiers.children}


JAVA = Rules(
    language="java",
    grammar=tree_sitter_java.language,
    defining=DEFINING,
    define=define,
    transparent=TRANSPARENT,
    leading=frozenset({"line_comment", "block_comment"}),
)
