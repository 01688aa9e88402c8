"""Secrets in source: masked before anything of a file is stored, embedded or shown.

Two kinds are found: what its own form gives away (the prefix of an access token, the armour of a private key), and what
is assigned to a name such as `api_key` and looks random. The second kind is guesswork, so it is careful: source that
only speaks of passwords stays as it is, placeholders too.

Every pattern starts with a literal and repeats within fixed bounds, so that time grows linearly with the file; a
pattern is tried only where one of its words is in the file at all.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

Span = tuple[int, int]

MASK = b"*"


class _Form(NamedTuple):
    """A token that its form gives away. words: one of them is in each match. Group 1 is masked."""

    words: tuple[bytes, ...]
    pattern: re.Pattern[bytes]


FORMS = (
    _Form((b"AKIA", b"ASIA"), re.compile(rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)([A-Z0-9]{16})(?![A-Za-z0-9])")),
    _Form((b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), re.compile(rb"(?<!\w)gh[pousr]_([A-Za-z0-9]{30,255})")),
    _Form((b"github_pat_",), re.compile(rb"github_pat_(\w{22,255})")),
    _Form((b"glpat-", b"gldt-", b"glrt-", b"glptt-"), re.compile(rb"(?<!\w)gl(?:pat|dt|rt|ptt)-([\w-]{20,255})")),
    _Form(
        (b"xox", b"xapp-"), re.compile(rb"(?<!\w)(?:xox[abeoprs]|xapp)-((?=[a-zA-Z-]{0,99}[0-9])[A-Za-z0-9-]{10,255})")
    ),
    _Form((b"hooks.slack.com",), re.compile(rb"hooks\.slack\.com/services/([A-Z0-9]{6,20}/[A-Z0-9]{6,20}/\w{16,64})")),
    _Form((b"k_live_", b"k_test_"), re.compile(rb"(?<!\w)[rsp]k_(?:live|test)_([A-Za-z0-9]{16,255})")),
    _Form((b"whsec_",), re.compile(rb"(?<!\w)whsec_([A-Za-z0-9+/=]{24,255})")),
    _Form((b"AIza",), re.compile(rb"(?<!\w)AIza([\w-]{35})(?![\w-])")),
    _Form((b"GOCSPX-", b"ya29."), re.compile(rb"(?<!\w)(?:GOCSPX-|ya29\.)([\w-]{20,1000})")),
    _Form((b"sk-ant-",), re.compile(rb"(?<![\w-])sk-ant-([\w-]{20,255})")),
    _Form(
        (b"sk-",),
        re.compile(
            rb"(?<![\w-])sk-((?=[A-Za-z-]{0,60}[0-9])(?:(?:proj|svcacct|admin|or-v1)-[\w-]{20,255}|[A-Za-z0-9]{20,255}))"
        ),
    ),
    _Form((b"npm_",), re.compile(rb"(?<!\w)npm_([A-Za-z0-9]{36})(?!\w)")),
    _Form((b"pypi-AgE",), re.compile(rb"(?<!\w)pypi-AgE([\w-]{40,1000})")),
    _Form((b"hf_",), re.compile(rb"(?<!\w)hf_([A-Za-z0-9]{34,40})(?!\w)")),
    _Form((b"xai-", b"gsk_"), re.compile(rb"(?<![\w-])(?:xai-|gsk_)([A-Za-z0-9]{40,255})")),
    _Form((b"SG.",), re.compile(rb"(?<!\w)SG\.([\w-]{22}\.[\w-]{43})(?![\w-])")),
    _Form((b"dop_v1_", b"shpat_"), re.compile(rb"(?<!\w)(?:dop_v1_|shpat_)([0-9a-f]{32,64})")),
    _Form((b"AGE-SECRET-KEY-1",), re.compile(rb"AGE-SECRET-KEY-1([A-Z0-9]{50,70})")),
    _Form((b"eyJ",), re.compile(rb"(?<![\w-])eyJ([\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{10,2000})")),
)

WORDS_OF_NAMES = (b"secret", b"token", b"passw", b"pwd", b"apikey", b"api_key", b"api-key", b"access_key", b"accesskey",
    b"access-key", b"auth_key", b"private_key", b"credential", b"bearer")  # fmt: skip
ASSIGNED = re.compile(
    rb"(?:secret|token|passw(?:or)?d|pwd|api[_-]?key|access[_-]?key|auth_key|private_key|credential)s?"
    rb"[\w.-]{0,40}[\"'`\]]{0,2}[ \t]{0,8}(?::[ \t]{0,4}[\w&']{1,20}[ \t]{0,4}=|=>|:=|[:=](?![=:]))[ \t]{0,8}"
    rb"(?:b|r|f|u|@)?([\"'`])([^\s\"'`]{8,250})\1"
)
ASSIGNED_BARE = re.compile(
    rb"(?:secret|token|passw(?:or)?d|pwd|api[_-]?key|access[_-]?key|auth_key|private_key|credential)s?"
    rb"[\w.-]{0,40}[ \t]{0,8}[:=]()[ \t]{0,8}([^\s\"'`#;,()<>{}\[\]]{8,250})[ \t]{0,8}(?:[;#\r\n]|\Z)"
)
AWS_SECRET = re.compile(
    rb"secret[\w.-]{0,40}[\"'`\]]{0,2}[ \t]{0,8}(?:=>|:=|[:=])[ \t]{0,8}[\"'`]?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
)
BEARER = re.compile(rb"bearer[ \t]{1,4}([a-z0-9._~+/-]{20,2000}={0,2})")
URL_PASSWORD = re.compile(rb"://[^\s/:@\"'`<>{}()$\\?#]{0,100}:([^\s/@\"'`<>{}()$\\]{1,200})@[\w\[]")
BARE_SUFFIXES = (
    b".env", b".yml", b".yaml", b".ini", b".cfg", b".conf", b".properties", b".toml", b".tfvars", b".sh", b".example",
    b".sample", b".template", b".dist", b"dockerfile",
)  # fmt: skip
"""Where values are written without quotes."""

PLACEHOLDERS = (b"example", b"your", b"xxx", b"changeme", b"change_me", b"change-me", b"placeholder", b"dummy", b"fake",
    b"sample", b"redacted", b"***", b"...", b"todo", b"insert", b"replace", b"${", b"{{", b"%(", b"%s", b"<", b"://",
    b"123456789", b"abcdef", b"test")  # fmt: skip
COMMON_PASSWORDS = frozenset(
    (b"pass", b"passwd", b"password", b"pwd", b"pw", b"p", b"secret", b"token", b"user", b"username", b"key", b"port",
     b"x", b"xx", b"foo", b"bar", b"baz", b"test", b"b", b"c")
)  # fmt: skip
CODE = re.compile(rb"[a-z_$][a-z0-9_$]*(?:(?:\.|::|->|/|-)[a-z_$]?[a-z0-9_$]*)*(?:\(.*)?", re.IGNORECASE)

BEGIN_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
END_KEY = re.compile(rb"-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
MAX_KEY_BYTES = 20_000
KEY_LINE = re.compile(rb"(?:[\w+/=]*|[A-Z][\w-]*: .*)\\?")
AROUND_KEY_LINE = b" \t\r\"'`,+;#*|"


def mask_secrets(path: str, data: bytes) -> tuple[bytes, int]:
    """The file with every byte of its secrets as `*`, and how many secrets that were.

    Length, line breaks, and with them all offsets and line numbers stay as they are; also the part of a token that
    says what it is (`ghp_`), and the BEGIN and END lines of a key.
    """
    spans = sorted({*_forms(data), *_keys(data), *_urls(data), *_assignments(path, data)})
    if not spans:
        return data, 0
    masked = bytearray(data)
    count = end_of_last = 0
    for start, end in spans:
        masked[start:end] = re.sub(rb"[^\r\n]", MASK, data[start:end])
        count += start >= end_of_last
        end_of_last = max(end_of_last, end)
    return bytes(masked), count


def _forms(data: bytes) -> Iterator[Span]:
    for words, pattern in FORMS:
        if any(word in data for word in words):
            yield from (match.span(1) for match in pattern.finditer(data))


def _urls(data: bytes) -> Iterator[Span]:
    if b"://" not in data or b"@" not in data:
        return
    for match in URL_PASSWORD.finditer(data):
        password = match[1].lower()
        if password not in COMMON_PASSWORDS and not _is_placeholder(password) and not password.startswith(b"pass"):
            yield match.span(1)


def _assignments(path: str, data: bytes) -> Iterator[Span]:
    # Lower case once, so that the patterns need not ignore case, which costs ten times as much.
    lower = data.lower()
    if not any(word in lower for word in WORDS_OF_NAMES):
        return
    patterns = (
        [ASSIGNED, ASSIGNED_BARE] if path.lower().encode(errors="replace").endswith(BARE_SUFFIXES) else [ASSIGNED]
    )
    for pattern in patterns:
        for match in pattern.finditer(lower):
            start, end = match.span(2)
            if _looks_secret(data[start:end], is_password=match[0].startswith((b"passw", b"pwd"))):
                yield start, end
    yield from (span for span in _spans(AWS_SECRET, lower) if _is_mixed(data[slice(*span)]))
    yield from (span for span in _spans(BEARER, lower) if _looks_secret(data[slice(*span)], is_password=False))


def _spans(pattern: re.Pattern[bytes], data: bytes) -> Iterator[Span]:
    return (match.span(1) for match in pattern.finditer(data))


def _looks_secret(value: bytes, *, is_password: bool) -> bool:
    """Passwords are short, but of many kinds of characters; tokens are long and random."""
    if _is_placeholder(value.lower()):
        return False
    if is_password and _is_mixed(value) and re.search(rb"[^\w.\-/]", value):
        return True
    if len(value) < 16 or not re.search(rb"[0-9]", value) or not re.search(rb"[A-Za-z]", value):
        return False
    digits = sum(48 <= byte <= 57 for byte in value)
    if CODE.fullmatch(value) and digits < len(value) // 8:
        return False
    return _bits_per_byte(value) >= 3.2


def _is_placeholder(lower: bytes) -> bool:
    return any(word in lower for word in PLACEHOLDERS)


def _is_mixed(value: bytes) -> bool:
    return all(re.search(kind, value) for kind in (rb"[a-z]", rb"[A-Z]", rb"[0-9]"))


def _bits_per_byte(value: bytes) -> float:
    """Shannon entropy of the bytes' frequencies: random hexadecimal has about 3.6 at 32 bytes, words have below 3."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def _keys(data: bytes) -> Iterator[Span]:
    """The bodies of private keys in PEM or OpenPGP armour, also within string literals of source code."""
    if b"PRIVATE KEY" not in data:
        return
    for begin in BEGIN_KEY.finditer(data):
        end = END_KEY.search(data, begin.end(), begin.end() + MAX_KEY_BYTES)
        stop = end.start() if end else begin.end() + MAX_KEY_BYTES
        body = data[begin.end() : stop]
        length = _length_of_key(body)
        if length and (end is None or length == len(body)):
            yield begin.end(), begin.end() + length


def _length_of_key(body: bytes) -> int:
    """How many bytes of `body` from its start on are lines of a key; 0 where there is no material in them."""
    length = material = 0
    for line in body.splitlines(keepends=True):
        text = line.replace(b"\\n", b"").replace(b"\\r", b"").strip(b"\n" + AROUND_KEY_LINE)
        if not KEY_LINE.fullmatch(text):
            break
        material += len(text)
        length += len(line)
    return length if material >= 16 else 0
