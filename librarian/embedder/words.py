"""The words of code and prose: identifiers are taken apart, punctuation is left out."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")
"""parseHTTPResponse2_ok: parse, HTTP, Response, 2, ok."""

ASCII_WORD = re.compile(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+|[0-9]+")
"""Finds the same in ASCII, faster."""


def cased_words(text: str) -> list[str]:
    """As they are written, without accents."""
    if text.isascii():
        return ASCII_WORD.findall(text)
    decomposed = unicodedata.normalize("NFD", text)
    return WORD.findall("".join(each for each in decomposed if unicodedata.category(each) != "Mn"))


def words(text: str) -> list[str]:
    """In lower case, without accents."""
    return [each.lower() for each in cased_words(text)]
