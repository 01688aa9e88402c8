"""A file, cut into chunks: each one thing with one name. Every byte is owned by exactly one of them."""

from __future__ import annotations

import time
from functools import cache

from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

from librarian.chunks import ChunkedFile, Language
from librarian.languages import language_of, rules_of
from librarian.languages.base import Rules
from librarian.languages.markdown import sections
from librarian.outline import Found, Outline, Unit, outline
from librarian.ownership import assemble


def chunk_file(path: str, data: bytes, timeout_s: float) -> ChunkedFile:
    """Never raises: a file that cannot be parsed, or not within `timeout_s`, is cut as plain text, and says so."""
    language = language_of(path, data)
    stem = _stem(path)
    problem = None
    try:
        found = _outline(path, data, language, stem, timeout_s)
    except TimeoutError:
        problem = f"not parsed within {timeout_s:g} s; cut as plain text"
    except Exception as error:  # A parser's or a rule's failure over one odd file must not end an ingest.
        problem = f"cannot be parsed ({type(error).__name__}: {error}); cut as plain text"
    else:
        chunks, symbols = assemble(data, found, stem, is_code=language not in ("markdown", "unknown"))
        return ChunkedFile(language, chunks, symbols)
    chunks, symbols = assemble(data, Outline(), stem, is_code=False)
    return ChunkedFile(language, chunks, symbols, problem)


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name or "file"


def _outline(path: str, data: bytes, language: Language, stem: str, timeout_s: float) -> Outline:
    if language == "markdown":
        return _markdown(data)
    rules = rules_of(language, path)
    if rules is None or not data.strip():
        return Outline()
    deadline = time.monotonic() + timeout_s
    prepared = data if rules.prepare is None else rules.prepare(data)
    return outline(_parse(prepared, rules, deadline), rules, data, stem)


def _parse(data: bytes, rules: Rules, deadline: float) -> Node:
    parser = Parser(_grammar(rules))
    is_late = False

    def stops(_offset: int, _has_error: bool) -> bool:
        nonlocal is_late
        is_late = time.monotonic() > deadline
        return is_late

    # Only parsers that ask for the text piece by piece can be stopped.
    tree = parser.parse(lambda offset, _point: data[offset : offset + PIECE_BYTES], progress_callback=stops)
    if is_late or tree is None:
        raise TimeoutError
    return tree.root_node


PIECE_BYTES = 1 << 16


@cache
def _grammar(rules: Rules) -> Grammar:
    return Grammar(rules.grammar())


def _markdown(data: bytes) -> Outline:
    found = Outline()
    for titles, start, end, heading in sections(data):
        qualified = " > ".join(titles)
        found.units.append(Unit(titles[-1] or "section", qualified, "section", start, end, heading))
        found.symbols.append(Found(titles[-1], qualified, "section", start, end))
    return found
