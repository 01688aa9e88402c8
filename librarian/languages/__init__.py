"""The languages whose files are parsed, one file each; all others are cut as plain text."""

from __future__ import annotations

import re
from functools import cache

from librarian.chunks import Language
from librarian.languages.base import Rules

LANGUAGES: dict[str, Language] = {
    "py": "python", "pyi": "python", "pyw": "python",
    "js": "javascript", "jsx": "javascript", "mjs": "javascript", "cjs": "javascript",
    "ts": "typescript", "tsx": "typescript", "mts": "typescript", "cts": "typescript",
    "c": "c", "h": "c",
    "cc": "cpp", "cpp": "cpp", "cxx": "cpp", "c++": "cpp", "hh": "cpp", "hpp": "cpp", "hxx": "cpp", "h++": "cpp",
    "ipp": "cpp", "inl": "cpp", "tpp": "cpp", "cu": "cpp", "cuh": "cpp",
    "rs": "rust", "go": "go", "java": "java",
    "md": "markdown", "markdown": "markdown", "mdx": "markdown",
}  # fmt: skip
"""By the extension of a file's name, in small letters."""

_CPP = re.compile(rb"^[ \t]*(?:class|namespace|template|using)\b|\w::\w|\b(?:public|private|protected):", re.MULTILINE)
_SHEBANG = re.compile(rb"#![^\n]{0,100}\b(python|node|deno|bun)")
_RUN_BY: dict[bytes, Language] = {b"python": "python"}


def language_of(path: str, data: bytes) -> Language:
    """By the file's extension; a `.h` that holds C++ is C++, a script without extension what its first line names."""
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        found = _SHEBANG.match(data)
        return _RUN_BY.get(found[1], "javascript") if found else "unknown"
    language = LANGUAGES.get(extension.lower(), "unknown")
    return "cpp" if language == "c" and extension.lower() == "h" and _CPP.search(data) else language


def rules_of(language: Language, path: str = "") -> Rules | None:
    """The rules for a file of this language; None where it is not parsed."""
    return _rules(language, path.endswith(".tsx"))


@cache
def _rules(language: Language, has_tags: bool) -> Rules | None:
    # Each grammar is a library of some megabytes: only those that are needed are loaded.
    match language:
        case "python":
            from librarian.languages.python import PYTHON

            return PYTHON
        case "javascript":
            from librarian.languages.javascript import JAVASCRIPT

            return JAVASCRIPT
        case "typescript" if has_tags:
            from librarian.languages.typescript import TSX

            return TSX
        case "typescript":
            from librarian.languages.typescript import TYPESCRIPT

            return TYPESCRIPT
        case "c":
            from librarian.languages.c import C

            return C
        case "cpp":
            from librarian.languages.cpp import CPP

            return CPP
        case "rust":
            from librarian.languages.rust import RUST

            return RUST
        case "go":
            from librarian.languages.go import GO

            return GO
        case "java":
            from librarian.languages.java import JAVA

            return JAVA
        case _:
            return None
