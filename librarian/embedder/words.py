"""The words of code and prose: identifiers are taken apart, punctuation is left out."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")
"""parseHTTPResponse2_ok: parse, HTTP, Response, 2, ok."""


def words(text: str) -> list[str]:
    """Lower case, without accents."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(each for each in decomposed if unicodedata.category(each) != "Mn")
    return [each.lower() for each in WORD.findall(text)]
