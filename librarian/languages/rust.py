"""What Rust defines: functions, types and their impls, traits, macros, modules, constants."""

from __future__ import annotations

from collections.abc import Sequence

import tree_sitter_rust
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages.base import Definition, Rules, field, head_end, text

TYPES: dict[str, SymbolKind] = {
    "struct_item": "struct",
    "enum_item": "enum",
    "union_item": "union",
    "trait_item": "trait",
}
VALUES: dict[str, SymbolKind] = {
    "const_item": "constant",
    "static_item": "variable",
    "type_item": "type",
    "associated_type": "type",
    "enum_variant": "constant",
    "field_declaration": "field",
}
DEFINING = (
    frozenset(TYPES)
    | frozenset(VALUES)
    | {"function_item", "function_signature_item", "impl_item", "macro_definition", "mod_item"}
)
TRANSPARENT = frozenset(
    {"declaration_list", "foreign_mod_item", "enum_variant_list", "field_declaration_list", "expression_statement"}
)


def define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    name, body = text(field(node, "name")), field(node, "body")
    inside = [] if body is None else [body]
    if node.type in ("function_item", "function_signature_item"):
        kind = "method" if around in ("impl", "trait") else "function"
        declared = body is None
        return [Definition(name, kind, None if declared else kind, declaration=declared, head_end=head_end(node))]
    if node.type in TYPES:
        return [Definition(name, TYPES[node.type], "class", inside, head_end=head_end(node))]
    if node.type == "impl_item":
        # Types without a name, tuples for example, are found under the trait.
        name = type_name(field(node, "type")) or type_name(field(node, "trait"))
        return [Definition(name, "impl", "class", inside, head_end=head_end(node))] if name else ()
    if node.type == "macro_definition":
        first = next((child for child in node.children if child.type in ("(", "{", "[")), None)
        return [Definition(name, "macro", "function", head_end=first.start_byte if first else None)]
    if node.type == "mod_item":
        return [Definition(name, "namespace", None, inside, declaration=body is None)]
    return [Definition(name, VALUES[node.type], None)] if name else ()


def type_name(node: Node | None) -> str:
    """The bare name of a type: `Thing` of `&mut a::Thing<T>`."""
    while node is not None:
        if node.type == "scoped_type_identifier":
            return text(field(node, "name"))
        if node.type in ("type_identifier", "primitive_type"):
            return text(node)
        inner = field(node, "type", "trait")
        if inner is None or node.type == "array_type":
            return ""
        node = inner
    return ""


RUST = Rules(
    language="rust",
    grammar=tree_sitter_rust.language,
    defining=DEFINING,
    define=define,
    transparent=TRANSPARENT,
    leading=frozenset({"line_comment", "block_comment", "attribute_item"}),
)
