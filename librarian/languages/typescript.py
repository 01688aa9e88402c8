"""TypeScript, with and without tags: JavaScript, and what has a type."""

from __future__ import annotations

import tree_sitter_typescript

from librarian.languages.base import Rules
from librarian.languages.javascript import DEFINING, ENUM_NAMES, FIELDS, SIGNATURES, TRANSPARENT, TYPES, define


def _rules(grammar: object) -> Rules:
    return Rules(
        language="typescript",
        grammar=grammar,  # type: ignore[arg-type]  # the wheels are untyped
        defining=frozenset(
            {
                *DEFINING,
                *FIELDS,
                *SIGNATURES,
                *TYPES,
                "type_alias_declaration",
                "property_signature",
                "enum_assignment",
                *ENUM_NAMES,
                "internal_module",
                "module",
            }
        ),
        define=define,
        transparent=TRANSPARENT,
        wrappers=frozenset({"export_statement", "ambient_declaration"}),
        leading=frozenset({"comment", "decorator"}),
    )


TYPESCRIPT = _rules(tree_sitter_typescript.language_typescript)
TSX = _rules(tree_sitter_typescript.language_tsx)
