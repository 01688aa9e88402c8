"""What Go defines: functions, methods with their receiver's type, types, also in groups, constants and variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tree_sitter_go
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages.base import Definition, Rules, field, head_end, text

TYPE_KINDS: dict[str, SymbolKind] = {"struct_type": "struct", "interface_type": "interface"}
SPECS = ("type_spec", "type_alias")
DEFINING = frozenset(
    {
        "function_declaration",
        "method_declaration",
        "type_declaration",
        "type_spec",
        "type_alias",
        "const_spec",
        "var_spec",
        "field_declaration",
        "method_elem",
    }
)
TRANSPARENT = frozenset(
    {"type_declaration", "const_declaration", "var_declaration", "var_spec_list", "field_declaration_list"}
)


def define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    """A `type` for itself is defined by its whole declaration, in a group by its line."""
    if node.type in ("function_declaration", "method_declaration"):
        return [_function(node)]
    if node.type == "type_declaration":
        specs = [child for child in node.named_children if child.type in SPECS]
        grouped = any(child.type == "(" for child in node.children)
        return [] if grouped or len(specs) != 1 else [_type(specs[0])]
    if node.type in SPECS:
        return [_type(node)]
    if node.type == "method_elem":
        return [Definition(text(field(node, "name")), "method", None, declaration=True)]
    return list(_values(node))


def _function(node: Node) -> Definition:
    body = field(node, "body")
    receiver = field(node, "receiver")
    kind = "function" if receiver is None else "method"
    name = text(field(node, "name"))
    return Definition(
        name, kind, kind, scope=receiver_type(receiver), declaration=body is None, head_end=head_end(node)
    )


def receiver_type(receiver: Node | None) -> str:
    """`T` of `(t *T[K])`; empty where there is no receiver."""
    parameter = receiver.named_children[0] if receiver is not None and receiver.named_children else None
    node = field(parameter, "type") if parameter is not None else None
    while node is not None and node.type != "type_identifier":
        node = field(node, "type") or (node.named_children[0] if node.named_children else None)
    return text(node)


def _type(spec: Node) -> Definition:
    name, described = text(field(spec, "name")), field(spec, "type")
    kind = TYPE_KINDS.get(described.type if described else "", "type")
    if described is None or kind == "type":
        return Definition(name, kind, "class", head_end=spec.end_byte)
    return Definition(name, kind, "class", [described], head_end=described.children[0].end_byte)


def _values(node: Node) -> Iterator[Definition]:
    kinds: dict[str, SymbolKind] = {"const_spec": "constant", "var_spec": "variable", "field_declaration": "field"}
    for name in node.children_by_field_name("name"):
        if name.is_named and text(name) != "_":
            yield Definition(text(name), kinds[node.type], None)


GO = Rules(
    language="go",
    grammar=tree_sitter_go.language,
    defining=DEFINING,
    define=define,
    transparent=TRANSPARENT,
)
