"""JavaScript: functions however they get their name, classes and methods, objects of functions, modules in functions.

Shared with TypeScript, whose further nodes `define` knows as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import tree_sitter_javascript
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages.base import Definition, Rules, field, head_end, rows, text

FUNCTIONS = frozenset({"function_declaration", "generator_function_declaration"})
FUNCTION_VALUES = frozenset({"arrow_function", "function_expression", "generator_function", "function"})
TYPES: dict[str, SymbolKind] = {
    "class_declaration": "class",
    "class": "class",
    "abstract_class_declaration": "class",
    "interface_declaration": "interface",
    "enum_declaration": "enum",
}
SIGNATURES = frozenset({"function_signature", "method_signature", "abstract_method_signature"})
FIELDS = frozenset({"field_definition", "public_field_definition"})
ENUM_NAMES = frozenset({"property_identifier", "string"})
AROUND_VALUES = frozenset({"as_expression", "satisfies_expression", "parenthesized_expression", "type_assertion"})

LONG_ROWS = 4
"""A value over more lines than this is a chunk of its own."""


def define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    kind = node.type
    if kind in FUNCTIONS:
        return [Definition(text(field(node, "name")), "function", "function", head_end=head_end(node))]
    if kind in TYPES:
        return [_type(text(field(node, "name")), TYPES[kind], node)]
    if kind == "method_definition":
        name = _key(field(node, "name"))
        return [Definition(name, "method", "method", head_start=_behind_decorators(node), head_end=head_end(node))]
    if kind in SIGNATURES:
        is_function = kind == "function_signature"
        return [Definition(_key(field(node, "name")), "function" if is_function else "method", declaration=True)]
    if kind in FIELDS:
        return _field(node)
    if kind == "property_signature":
        return [Definition(_key(field(node, "name")), "field")]
    if kind == "enum_assignment" or (kind in ENUM_NAMES and around == "enum"):
        return [Definition(_key(field(node, "name") or node), "constant")]
    if kind == "type_alias_declaration":
        is_long = rows(node) >= LONG_ROWS
        return [Definition(text(field(node, "name")), "type", "class" if is_long else None)]
    if kind in ("internal_module", "module"):
        return [_namespace(node)]
    if kind in ("lexical_declaration", "variable_declaration"):
        return _variables(node)
    if kind == "export_statement":
        return _exported(field(node, "value"), node)
    if kind == "pair":
        return _value(_key(field(node, "key")), field(node, "value"), node)
    return _statement(node, around)


def _type(name: str, kind: SymbolKind, node: Node) -> Definition:
    body = field(node, "body")
    inside = [] if body is None else [body]
    return Definition(name, kind, "class", inside, head_start=_behind_decorators(node), head_end=head_end(node))


def _behind_decorators(node: Node) -> int:
    """Where a signature begins."""
    return next((each.start_byte for each in node.children if each.type != "decorator"), node.start_byte)


def _namespace(node: Node) -> Definition:
    body = field(node, "body")
    return Definition(_key(field(node, "name")), "namespace", None, [] if body is None else [body])


def _field(node: Node) -> Sequence[Definition]:
    name, value = _key(field(node, "property", "name")), field(node, "value")
    if value is not None and value.type in FUNCTION_VALUES:
        start = _behind_decorators(node)
        return [Definition(name, "method", "method", head_start=start, head_end=head_end(value))]
    return [Definition(name, "field")] if name else []


def _variables(node: Node) -> list[Definition]:
    found: list[Definition] = []
    for each in node.named_children:
        name = field(each, "name")
        if each.type == "variable_declarator" and name is not None and name.type == "identifier":
            found += _value(text(name), field(each, "value"), node)
    return found


def _value(name: str, value: Node | None, whole: Node) -> list[Definition]:
    """What a name means that is given a value."""
    value = _without_type(value)
    if value is None:
        return [Definition(name, "variable")]
    if value.type in FUNCTION_VALUES:
        return [Definition(name, "function", "function", head_end=head_end(value))]
    if value.type == "class":
        return [_type(name, "class", value)]
    if (made := _made_of_function(value)) is not None:
        return [Definition(name, "function", "function", head_end=head_end(made))]
    is_long = rows(whole) >= LONG_ROWS
    inside = [value] if value.type == "object" else _called_at_once(value)
    return [Definition(name, "constant", "block" if is_long else None, inside, head_end=value.start_byte)]


def _without_type(value: Node | None) -> Node | None:
    """What stands inside of parentheses, and what has a type, without them."""
    while value is not None and value.type in AROUND_VALUES and value.named_child_count:
        value = value.named_children[-1 if value.type == "type_assertion" else 0]
    return value


def _called_at_once(value: Node) -> list[Node]:
    """The body of a function that is called where it stands: a module that hides what it does not return."""
    called = _without_type(field(value, "function")) if value.type == "call_expression" else None
    body = field(called, "body") if called is not None and called.type in FUNCTION_VALUES else None
    return [] if body is None else [body]


def _made_of_function(value: Node) -> Node | None:
    """The function of more than one line that is handed to a call, as in `memoize(function () {…})`."""
    arguments = field(value, "arguments") if value.type == "call_expression" else None
    given = arguments.named_children if arguments is not None else ()
    return next((each for each in given if each.type in FUNCTION_VALUES and rows(each)), None)


def _statement(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    expression = node.named_children[0] if node.named_child_count else None
    if expression is None:
        return []
    if expression.type == "internal_module":
        return [_namespace(expression)]
    expression = _without_type(expression) or expression
    if expression.type == "assignment_expression":
        return _assigned(expression, node)
    if expression.type in ("call_expression", "unary_expression"):
        return _called(expression)
    return []


def _assigned(expression: Node, statement: Node) -> Sequence[Definition]:
    """`exports.name = …`, `Type.prototype.name = …`, `module.exports = …`."""
    left, right = field(expression, "left"), field(expression, "right")
    if left is None or left.type != "member_expression":
        return []
    while right is not None and right.type == "assignment_expression":
        right = field(right, "right")
    name, owner = text(field(left, "property")), text(field(left, "object"))
    is_method = owner.endswith(".prototype")
    scope = owner.removesuffix(".prototype").rpartition(".")[2]
    if scope in ("exports", "module", "this", "window", "globalThis"):
        scope = ""
    if name == "exports":
        return _exported(right, statement)
    found = [each._replace(scope=scope) for each in _value(name, right, statement)]
    if is_method or scope:
        found = [
            each._replace(kind="method", chunk_type="method") if each.kind == "function" else each for each in found
        ]
    return [each._replace(kind="field") if each.kind == "constant" else each for each in found]


def _exported(value: Node | None, statement: Node) -> Sequence[Definition]:
    if value is None:
        return []
    if value.type == "object":
        return [Definition("", "namespace", None, [value])]
    if value.type in FUNCTION_VALUES or value.type == "class":
        return _value(text(field(value, "name")), value, statement)
    if value.type == "call_expression" and (made := _made_of_function(value)) is not None:
        return [Definition(text(field(made, "name")), "function", "function", head_end=head_end(made))]
    return [Definition("", "namespace", None, inside)] if (inside := _called_at_once(value)) else []


def _called(expression: Node) -> Sequence[Definition]:
    """A module inside of a function that is called at once, or handed to a loader."""
    if expression.type == "unary_expression":
        inner = field(expression, "argument")
        return [] if inner is None or inner.type != "call_expression" else _called(inner)
    called = field(expression, "function")
    arguments = field(expression, "arguments")
    candidates = [called, *(arguments.named_children if arguments is not None else ())]
    bodies: list[Node] = []
    for each in candidates:
        each = _without_type(each)
        if each is not None and each.type in FUNCTION_VALUES and (body := field(each, "body")) is not None:
            bodies.append(body)
    has_module = called is not None and (called.type != "identifier" or text(called) in ("define", "require"))
    return [Definition("", "namespace", None, bodies)] if bodies and has_module else []


def _key(node: Node | None) -> str:
    """Also of `['name']`."""
    inner = node.named_children[0] if node is not None and node.named_child_count else None
    if node is not None and node.type == "computed_property_name" and inner is not None and inner.type == "string":
        node = inner
    return text(node).strip("\"'`")


DEFINING = frozenset(
    {
        *FUNCTIONS,
        "class_declaration",
        "class",
        "method_definition",
        "field_definition",
        "lexical_declaration",
        "variable_declaration",
        "expression_statement",
        "export_statement",
        "pair",
    }
)
TRANSPARENT = frozenset(
    {"if_statement", "else_clause", "statement_block", "try_statement", "catch_clause", "finally_clause"}
)

JAVASCRIPT = Rules(
    language="javascript",
    grammar=tree_sitter_javascript.language,
    defining=DEFINING,
    define=define,
    transparent=TRANSPARENT,
    wrappers=frozenset({"export_statement"}),
    leading=frozenset({"comment", "decorator"}),
)
