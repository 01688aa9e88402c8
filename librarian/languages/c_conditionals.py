"""Alternatives of `#if` that only together with what stands around them are C, blanked out before it is parsed.

    #ifdef WIDE
    int get(long at) {
    #else
    int get(int at) {
    #endif

A parser that has no preprocessor sees two functions opened and one closed, and from there on nothing is where it
should be. Of such a group the first branch is kept, without its `#` lines. Groups whose branches are whole
statements stay as they are, so both of two definitions are found. Offsets and lines do not change.
"""

from __future__ import annotations

import re

DIRECTIVE = re.compile(rb"^[ \t]*\#[ \t]*(ifdef|ifndef|if|elif|else|endif)\b((?:[^\n\\]|\\\r?\n|\\.)*)", re.MULTILINE)
NO_CODE = re.compile(
    rb"//[^\n]*|/\*.*?(?:\*/|\Z)|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.){1,4}'|^[ \t]*\#(?:[^\n\\]|\\\r?\n|\\.)*",
    re.MULTILINE | re.DOTALL,
)
WHOLE = b";{},:"
"""What code ends with that is not cut in the middle of a statement."""
MAX_DEPTH = 40


def without_alternatives(data: bytes, *, cplusplus: bool) -> bytes:
    """The same number of bytes and lines. In C, whatever is only for C++ goes if it is not whole."""
    if b"#" not in data:
        return data
    masked, code = bytearray(data), bytearray(NO_CODE.sub(lambda match: _blank(match[0]), data))
    groups: list[list[re.Match[bytes]]] = []
    for directive in DIRECTIVE.finditer(data):
        if directive[1].startswith(b"if"):
            groups.append([directive])
        elif groups:
            groups[-1].append(directive)
            if directive[1] == b"endif":
                group = groups.pop()
                if len(groups) < MAX_DEPTH:
                    for start, end in _superfluous(group, code, cplusplus):
                        masked[start:end] = _blank(masked[start:end])
                        code[start:end] = _blank(code[start:end])
    return bytes(masked)


def _superfluous(group: list[re.Match[bytes]], code: bytearray, cplusplus: bool) -> list[tuple[int, int]]:
    first, second, last = group[0], group[1], group[-1]
    branch = bytes(code[first.end() : second.start()])
    balance = branch.count(b"{") - branch.count(b"}")
    text = branch.rstrip()
    cut_short = len(group) > 2 and text != b"" and text[-1:] not in WHOLE
    if balance == 0 and not cut_short:
        return []
    if not cplusplus and b"__cplusplus" in first[2] and first[1] != b"ifndef":
        return [(first.start(), last.end())]
    return [first.span(), (second.start(), last.end())]


def _blank(text: bytes | bytearray) -> bytes:
    return re.sub(rb"[^\r\n]", b" ", bytes(text))
