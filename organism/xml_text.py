"""Any text as XML text, and any name as an XML name.

XML cannot hold control characters and the like, so they are written `_x0001_` with four hex digits, as Office Open XML
does; text that looks so by itself gets its underscore written that way.
"""

from __future__ import annotations

import re

_TO_ESCAPE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4})")
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_NO_NAME = re.compile("^[^A-Za-z_]|[^A-Za-z0-9_-]|_(?=x[0-9A-Fa-f]{4})")


def to_xml_text(text: str) -> str:
    """`text` with everything escaped that XML cannot hold."""
    return _TO_ESCAPE.sub(_escape, text)


def from_xml_text(text: str) -> str:
    """What to_xml_text was given."""
    return _ESCAPED.sub(_unescape, text)


def to_xml_name(name: str) -> str:
    """`name` as the name of an element or type; different ones stay different, and none has a dot in it."""
    return _NO_NAME.sub(_escape, name) or "_"


def _escape(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"


def _unescape(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    is_surrogate = 0xD800 <= code <= 0xDFFF  # no character by itself, and no UTF-8
    return found[0] if is_surrogate else chr(code)
