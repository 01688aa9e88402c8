"""What C defines: functions, types, macros, variables; what C++ shares of that is in here too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tree_sitter_c
from tree_sitter import Node

from librarian.chunks import SymbolKind
from librarian.languages.base import Definition, Rules, field, head_end, rows, text
from librarian.languages.c_conditionals import without_alternatives
from librarian.languages.c_macros import without_macros

TYPE_SPECIFIERS: dict[str, SymbolKind] = {
    "struct_specifier": "struct",
    "union_specifier": "union",
    "enum_specifier": "enum",
    "class_specifier": "class",
}
NAMES = frozenset({"identifier", "field_identifier", "type_identifier", "destructor_name", "operator_name"})
DEFINING = frozenset(TYPE_SPECIFIERS) | {
    "function_definition",
    "declaration",
    "field_declaration",
    "type_definition",
    "preproc_def",
    "preproc_function_def",
    "enumerator",
}
TRANSPARENT = frozenset(
    {
        "preproc_if",
        "preproc_ifdef",
        "preproc_else",
        "preproc_elif",
        "preproc_elifdef",
        "linkage_specification",
        "declaration_list",
        "field_declaration_list",
        "enumerator_list",
    }
)
KEYWORDS = frozenset(
    {
        "if",
        "for",
        "while",
        "switch",
        "return",
        "else",
        "do",
        "case",
        "sizeof",
        "catch",
        "defined",
        "int",
        "char",
        "void",
        "const",
        "static",
        "long",
        "struct",
        "class",
        "namespace",
        "template",
    }
)
"""Where the parser lost its way, statements look like functions."""
AROUND_METHODS = frozenset({"class", "struct", "union"})
LONG_ROWS = 3
"""A macro over more lines than this is a chunk of its own, as functions are."""


def define(node: Node, around: SymbolKind | None) -> Sequence[Definition]:
    """What a node of C, or of the part of C++ that is C, defines."""
    in_type = around in AROUND_METHODS
    if node.type == "function_definition":
        return function(node, in_type)
    if node.type in TYPE_SPECIFIERS:
        return type_specifier(node)
    if node.type in ("declaration", "field_declaration"):
        return [*_type_of(node), *_declared(node, in_type)]
    if node.type == "type_definition":
        return _typedef(node)
    if node.type in ("preproc_def", "preproc_function_def"):
        return _macro(node)
    if node.type == "enumerator":
        return [Definition(text(field(node, "name")), "constant", None)]
    return ()


def function(node: Node, in_type: bool) -> Sequence[Definition]:
    declarator = field(node, "declarator")
    name, scope = declared_name(declarator)
    if not name:
        return ()
    # Without parameters it is no function: a macro that the parser did not understand.
    if declarator is not None and function_declarator(declarator) is None:
        macro = text(field(node, "type"))
        is_handler = declarator.type == "parenthesized_declarator" and macro.isupper()
        return [Definition(name, "function", "function", head_end=head_end(node))] if is_handler else ()
    if name.isupper() and field(node, "type") is None:
        name, scope = _named_by_macro(name, declarator)
    kind = "method" if in_type or scope else "function"
    return [Definition(name, kind, kind, scope=".".join(scope), head_start=line_start(node), head_end=head_end(node))]


def _named_by_macro(macro: str, declarator: Node | None) -> tuple[str, list[str]]:
    """Of `TEST(Suite, name) {…}` and `DEFINE_HANDLER(name) {…}`."""
    parameters = field(function_declarator(declarator), "parameters")
    names = [text(each) for each in parameters.named_children if text(each).isidentifier()] if parameters else []
    if len(names) == 2 and "TEST" in macro:
        return names[1], names[:1]
    return (names[0] if names else macro), []


def type_specifier(node: Node) -> Sequence[Definition]:
    name, scope = _type_name(field(node, "name"))
    body = field(node, "body")
    if not name:
        return ()
    if body is None:
        return [Definition(name, TYPE_SPECIFIERS[node.type], None, declaration=True)]
    return [type_with_body(node, name, body, scope=".".join(scope))]


def type_with_body(node: Node, name: str, body: Node, scope: str = "") -> Definition:
    return Definition(name, TYPE_SPECIFIERS[node.type], "class", [body], scope=scope, head_end=body.start_byte)


def declared_name(declarator: Node | None) -> tuple[str, list[str]]:
    """The name in a declarator, and the classes and namespaces that qualify it: `*A::b(int)` is `b` in `A`."""
    scope: list[str] = []
    while declarator is not None:
        if declarator.type in NAMES:
            name = "".join(text(declarator).split())
            return "" if name in KEYWORDS else name, scope
        if declarator.type == "operator_cast":
            return f"operator {text(declarator.child_by_field_name('type'))}", scope
        if declarator.type == "qualified_identifier":
            scope += _type_name(field(declarator, "scope"))[:1]
            declarator = field(declarator, "name")
        elif declarator.type in ("template_function", "template_method", "template_type"):
            declarator = field(declarator, "name")
        else:
            declarator = inner_declarator(declarator)
    return "", scope


def inner_declarator(declarator: Node) -> Node | None:
    inner = field(declarator, "declarator")
    if inner is not None:
        return inner
    candidates = (child for child in declarator.named_children if child.type in NAMES or _declares(child))
    return next(candidates, None)


def function_declarator(declarator: Node | None) -> Node | None:
    """The part of a declarator that has parameters; None for what is no function, a pointer to one for example."""
    while declarator is not None:
        if declarator.type == "operator_cast":
            return declarator
        if declarator.type == "function_declarator":
            inner = inner_declarator(declarator)
            return None if inner is not None and inner.type == "parenthesized_declarator" else declarator
        declarator = inner_declarator(declarator)
    return None


def line_start(node: Node) -> int:
    """Where its signature begins: at the start of its line, as blanked macros stand before the node."""
    while node.parent is not None and node.parent.type == "template_declaration":
        node = node.parent
    before, around, row = node.prev_sibling, node.parent, node.start_point[0]
    is_first = (before is None or before.end_point[0] < row or before.end_point[1] == 0) and (
        around is None or around.parent is None or around.start_point[0] < row
    )
    return node.start_byte - node.start_point[1] if is_first else node.start_byte


def is_explained(node: Node) -> bool:
    """Whether a comment of more than a line stands directly before it, on lines of its own."""
    before = node.prev_named_sibling
    if before is None or "comment" not in before.type or node.start_point[0] - before.end_point[0] > 1:
        return False
    code = before.prev_sibling
    trails = code is not None and code.end_point[0] == before.start_point[0] and code.end_point[1] > 0
    return not trails and (
        before.end_point[0] > before.start_point[0] or (code is not None and code.type == before.type)
    )


def _declares(node: Node) -> bool:
    return node.type.endswith("_declarator") or node.type in ("qualified_identifier", "template_function")


def _type_name(node: Node | None) -> tuple[str, list[str]]:
    if node is None:
        return "", []
    if node.type == "template_type":
        return text(field(node, "name")), []
    if node.type == "qualified_identifier":
        name, scope = declared_name(node)
        return name, scope
    return text(node), []


def _type_of(node: Node) -> Sequence[Definition]:
    """The type that a declaration defines on the way: `struct point { int x; } origin;`."""
    specifier = field(node, "type")
    if specifier is None or specifier.type not in TYPE_SPECIFIERS:
        return ()
    return type_specifier(specifier) if field(specifier, "body") is not None else ()


def _declared(node: Node, in_type: bool) -> Iterator[Definition]:
    for declarator in node.children_by_field_name("declarator"):
        name, scope = declared_name(declarator)
        if not name:
            continue
        if function_declarator(declarator) is not None:
            kind = "method" if in_type or scope else "function"
            # Announced with an explanation, it is what somebody looks for who reads headers.
            chunk_type = kind if is_explained(node) else None
            yield Definition(
                name, kind, chunk_type, scope=".".join(scope), declaration=True, head_start=line_start(node)
            )
        elif in_type:
            yield Definition(name, "field", None)
        else:
            modifiers = {
                text(child) for child in node.children if child.type in ("type_qualifier", "storage_class_specifier")
            }
            constant = not modifiers.isdisjoint({"const", "constexpr", "constinit"})
            yield Definition(
                name,
                "constant" if constant else "variable",
                None,
                scope=".".join(scope),
                declaration="extern" in modifiers and declarator.type != "init_declarator",
            )


def _typedef(node: Node) -> Sequence[Definition]:
    names = [declared_name(each)[0] for each in node.children_by_field_name("declarator")]
    names = [name for name in names if name]
    specifier = field(node, "type")
    body = field(specifier, "body") if specifier and specifier.type in TYPE_SPECIFIERS else None
    if specifier is None or body is None:
        return [Definition(name, "type", None) for name in names]
    tag = _type_name(field(specifier, "name"))[0]
    # The name without a tag in front is the one that people use.
    names = list(dict.fromkeys([*names, tag] if tag else names))
    if not names:
        return ()
    main, *others = names
    return [type_with_body(specifier, main, body), *(Definition(each, "type", None) for each in others)]


def _macro(node: Node) -> Sequence[Definition]:
    parameters = field(node, "parameters")
    name = field(node, "name")
    if field(node, "value") is None and parameters is None:
        return ()  # an include guard, a switch
    end = parameters.end_byte if parameters else name.end_byte if name else node.end_byte
    # The node includes the line break behind it.
    chunk_type = "function" if rows(node) > LONG_ROWS else None
    return [Definition(text(name), "macro", chunk_type, head_end=end)]


def _prepare(data: bytes) -> bytes:
    return without_macros(without_alternatives(data, cplusplus=False))


C = Rules(
    language="c",
    grammar=tree_sitter_c.language,
    defining=DEFINING,
    define=define,
    transparent=TRANSPARENT,
    prepare=_prepare,
)
