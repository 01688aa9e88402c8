"""Macros that a C or C++ parser takes for something else, blanked out before it reads the file.

Without the preprocessor `EXPORT_API int f(void);` has one word too many, and `LIB_NAMESPACE_BEGIN` in front of
`namespace detail {` turns all that follows into the body of a function. Each such macro is overwritten with blanks of
the same length, for the parser only, so that offsets and lines stay what they are in the file.

Only names in capitals are touched, and only where no C would have them.
"""

from __future__ import annotations

import re

MACRO = rb"[A-Z_][A-Z0-9_]{2,80}"
ARGUMENTS = rb"(?:[ \t]{0,4}\([^()\n]{0,200}(?:\([^()\n]{0,100}\)[^()\n]{0,100}){0,3}\))?"

ALONE = re.compile(rb"^[ \t]*(" + MACRO + ARGUMENTS + rb")[ \t]*(?://[^\n]*)?\r?$", re.MULTILINE)
"""A line that is nothing but a macro, without a semicolon."""

BEFORE_KEYWORD = re.compile(
    rb"^[ \t]*(" + MACRO + ARGUMENTS + rb")[ \t]+(?=(?:namespace|class|struct|union|enum|template|typedef|extern)\b)",
    re.MULTILINE,
)
BEFORE_TYPE_NAME = re.compile(
    rb"\b(?:class|struct|union|enum|enum[ \t]+class)[ \t]+((?:" + MACRO + ARGUMENTS + rb"[ \t\r\n]+){1,3})"
    rb"(?=[A-Za-z_][\w:]{0,200}(?:<[^;{}<>]{0,200}>)?[ \t]*(?:final[ \t]*)?(?://[^\n]*)?[\r\n \t]*(?:\{|:[^:]))"
)
BEFORE_RESULT = re.compile(
    rb"^[ \t]*(?:static[ \t]+|extern[ \t]+|inline[ \t]+|virtual[ \t]+|explicit[ \t]+){0,3}((?:"
    + MACRO
    + ARGUMENTS
    + rb"[ \t]+){1,3})"
    rb"(?=[A-Za-z_][\w:]{0,80}(?:<[^;{}()\n]{0,150}>)?(?:[ \t*&]+[A-Za-z_][\w:]{0,80}){0,4}"
    rb"[ \t*&]+[A-Za-z_~][\w:~]{0,120}[ \t]*\()",
    re.MULTILINE,
)
BEFORE_FUNCTION_NAME = re.compile(
    rb"^[ \t]*[a-z_][\w \t*]{0,80}[ \t*](" + MACRO + rb")[ \t]+(?=[A-Za-z_]\w{0,120}[ \t]*\()", re.MULTILINE
)
AROUND_RESULT = re.compile(
    rb"^(?:extern[ \t]+|static[ \t]+)?(\w{3,60}[ \t]{0,2}\()[\w \t*]{1,100}(\))[ \t]*(?:\r?\n)?"
    rb"(?=[ \t]*[*\w]{1,120}[ \t]*\()",
    re.MULTILINE,
)
"""`LIB_FUNC(int) name(`: what is in the parentheses is the type."""
AROUND_PARAMETERS = re.compile(rb"\w[ \t]+([A-Z_]{1,16}[ \t]{0,2}\()\([^;{}]{0,800}?\)[ \t]{0,4}(\))[ \t]*;")
"""`name OF((int))`: for compilers that knew no prototypes."""
OPENS = b"{};>:)/"
"""What may end the code before a macro that stands alone: it is then no part of an expression."""
CONTINUES = b",}=|&?+-.;)<"
"""What may not follow it: it would be a value."""


def without_macros(data: bytes) -> bytes:
    """The same number of bytes and lines, with blanks where a macro would lead the parser astray."""
    masked = bytearray(data)
    for pattern in (AROUND_RESULT, AROUND_PARAMETERS):
        for match in pattern.finditer(data):
            _blank(masked, match.span(1))
            _blank(masked, match.span(2))
    data = bytes(masked)
    for match in ALONE.finditer(data):
        if _stands_alone(data, match):
            _blank(masked, match.span(1))
    for pattern in (BEFORE_KEYWORD, BEFORE_TYPE_NAME, BEFORE_RESULT, BEFORE_FUNCTION_NAME):
        for match in pattern.finditer(bytes(masked)):
            _blank(masked, match.span(1))
    return bytes(masked)


def _stands_alone(data: bytes, match: re.Match[bytes]) -> bool:
    line_before = data[max(0, match.start() - 400) : match.start()].rstrip()
    # In the middle of a macro's definition, or of a statement, it is what it seems to be.
    if line_before.endswith(b"\\"):
        return False
    last_line = line_before.rpartition(b"\n")[2].lstrip()
    code, comment, _ = last_line.partition(b"//")
    if not (
        last_line.startswith((b"#", b"*")) or comment or line_before == b"" or code[-1:] in OPENS or code.isupper()
    ):
        return False
    follows = data[match.end() : match.end() + 200].lstrip()[:1]
    # `TEST(Suite, name)` in front of a body defines a function.
    return follows not in CONTINUES and not (follows == b"{" and b"(" in match[1])


def _blank(masked: bytearray, span: tuple[int, int]) -> None:
    start, end = span
    masked[start:end] = re.sub(rb"[^\r\n]", b" ", bytes(masked[start:end]))
