"""Python: functions, classes and their methods, also below `if` and `try`; names that a module or class assigns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import cleandoc

import tree_sitter_python
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages.base import Definition, Rules, field, head_end, text
from librarian.languages.comments import header_text

_QUOTES = re.compile(r"""^[RrUu]?("{3}|'{3}|"|')(.*)\1$""", re.DOTALL)


def _define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    if node.type == "expression_statement":
        return _assigned(node, around)
    if node.type == "type_alias_statement":
        return [Definition(text(field(node, "left") or node.named_children[0]).partition("[")[0], "type")]
    inner = field(node, "definition") if node.type == "decorated_definition" else node
    if inner is None or inner.type not in ("function_definition", "class_definition"):
        return []
    name, body = text(field(inner, "name")), field(inner, "body")
    colon = next((each for each in inner.children if each.type == ":"), None)
    head = head_end(inner) if colon is None else colon.start_byte
    start, docstring = inner.start_byte, _docstring(body)
    if inner.type == "class_definition":
        inside = [] if body is None else [body]
        return [Definition(name, "class", "class", inside, head_start=start, head_end=head, docstring=docstring)]
    if _is_stub(node):
        return [Definition(name, "method" if around == "class" else "function", declaration=True)]
    if around == "class":
        return [Definition(name, "method", "method", head_start=start, head_end=head, docstring=docstring)]
    return [Definition(name, "function", "function", head_start=start, head_end=head, docstring=docstring)]


def _is_stub(node: Node) -> bool:
    """`@overload`, `@typing.overload`; a call of that name, or one in a longer name, means something else."""
    marks = [each.named_children[0] for each in node.named_children if each.type == "decorator" and each.named_children]
    names = [text(field(each, "attribute") or each) for each in marks if each.type in ("identifier", "attribute")]
    return "overload" in names


def _assigned(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    assignment = node.named_children[0] if node.named_child_count else None
    if assignment is None or assignment.type != "assignment":
        return []
    left, right = field(assignment, "left"), field(assignment, "right")
    kind: SymbolKind = "field" if around == "class" else "constant"
    if left is not None and left.type in ("pattern_list", "tuple_pattern"):
        return [Definition(text(each), kind) for each in left.named_children if each.type == "identifier"]
    if left is None or left.type != "identifier":
        return []
    if right is not None and right.type == "lambda":
        return [Definition(text(left), "method" if around == "class" else "function")]
    return [Definition(text(left), kind)]


def _describe(root: Node, end: int) -> str:
    return _docstring(root) or header_text(root, end)


def _docstring(body: Node | None) -> str:
    """Of what has this body, a module too: its first statement, if that is nothing but a string."""
    statements = body.named_children if body is not None else ()
    first = next((each for each in statements if each.type != "comment"), None)
    if first is None or first.type != "expression_statement" or not first.named_child_count:
        return ""
    return string_value(text(first.named_children[0])) if first.named_children[0].type == "string" else ""


def string_value(literal: str) -> str:
    """What a literal of a docstring says."""
    found = _QUOTES.match(literal.strip())
    return cleandoc(found[2].replace("\r\n", "\n")).strip() if found else ""


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
            "for_statement",
            "while_statement",
            "match_statement",
            "case_clause",
            "block",
        }
    ),
    describe=_describe,
)
