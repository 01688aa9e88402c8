"""Python: functions, classes and their methods, also below `if` and `try`; names that a module or class assigns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import cleandoc

import tree_sitter_python
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages.base import Definition, Rules, field, head_end, text

_QUOTES = re.compile(r"""^[A-Za-z]{0,2}("{3}|'{3}|"|')(.*)\1$""", re.DOTALL)


def _define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    if node.type == "expression_statement":
        return _assigned(node, around)
    if node.type == "type_alias_statement":
        return [Definition(text(field(node, "left") or node.named_children[0]).partition("[")[0], "type")]
    inner = field(node, "definition") if node.type == "decorated_definition" else node
    if inner is None or inner.type not in ("function_definition", "class_definition"):
        return []
    name, body = text(field(inner, "name")), field(inner, "body")
    start, head, docstring = inner.start_byte, head_end(inner), _docstring(body)
    if inner.type == "class_definition":
        inside = [] if body is None else [body]
        return [Definition(name, "class", "class", inside, head_start=start, head_end=head, docstring=docstring)]
    is_stub = inner is not node and "overload" in text(node)[: inner.start_byte - node.start_byte]
    if is_stub:
        return [Definition(name, "method" if around == "class" else "function", declaration=True)]
    if around == "class":
        return [Definition(name, "method", "method", head_start=start, head_end=head, docstring=docstring)]
    return [Definition(name, "function", "function", head_start=start, head_end=head, docstring=docstring)]


def _assigned(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    assignment = node.named_children[0] if node.named_child_count else None
    if assignment is None or assignment.type != "assignment":
        return []
    left, right = field(assignment, "left"), field(assignment, "right")
    if left is None or left.type != "identifier":
        return []
    if right is not None and right.type == "lambda":
        return [Definition(text(left), "method" if around == "class" else "function")]
    return [Definition(text(left), "field" if around == "class" else "constant")]


def _docstring(body: Node | None) -> str:
    first = body.named_children[0] if body is not None and body.named_child_count else None
    if first is None or first.type != "expression_statement" or not first.named_child_count:
        return ""
    return string_value(text(first.named_children[0])) if first.named_children[0].type == "string" else ""


def string_value(literal: str) -> str:
    """What a literal of a docstring says."""
    found = _QUOTES.match(literal.strip())
    return cleandoc(found[2]).strip() if found else ""


PYTHON = Rules(
    language="python",
    grammar=tree_sitter_python.language,
    defining=frozenset(
        {
            "function_definition",
            "class_definition",
            "decorated_definition",
            "expression_statement",
            "type_alias_statement",
        }
    ),
    define=_define,
    transparent=frozenset(
        {
            "if_statement",
            "elif_clause",
            "else_clause",
            "try_statement",
            "except_clause",
            "finally_clause",
            "with_statement",
            "block",
        }
    ),
)
