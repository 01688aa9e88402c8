"""Masking of secrets in texts and in JSON-like values, before they leave: in a reply, an event, an error or a log.

Masked are texts that look like a secret, wherever they stand; what a text gives to a name that names one, as headers,
queries of URLs, dicts and calls do (`password=…`, `'x-api-key': '…'`); and everything below such a key of a value.

Texts may come from anybody and be long, so time grows linearly with them: what may repeat without end is possessive
(`++`), or cannot hold the beginning of another match, or is bounded.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

MASK = "***"

_SECRET_TEXT = re.compile(
    r"""
      -----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----
      (?:.*?-----END\ [A-Z0-9 ]*PRIVATE\ KEY(?:\ BLOCK)?-----|.*)                       # PEM and PGP, also cut off
    | org_[a-z2-9]{10}_[A-Za-z0-9_-]{8,}                                                # our own, also cut off
    | (?<![A-Za-z0-9])(?:sk|pk|rk|xai|gsk|hf|glpat|xox[abeprs])[-_][A-Za-z0-9_-]{8,}    # OpenAI, Stripe, xAI, Slack, …
    | (?<![A-Za-z0-9])(?:gh[opsur]|github_pat|npm|pypi)[-_][A-Za-z0-9_-]{16,}           # GitHub and registries
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])                          # AWS
    | (?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{30,}                                            # Google
    | (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?    # JWT
    """,
    re.VERBOSE | re.DOTALL,
)
_SCHEME = re.compile(
    r"""
    \b(?i:Bearer|Basic)\s++
    (?![A-Za-z]?[a-z]{1,19}(?!\.?[A-Za-z0-9_~+/=-]))       # a word: of basic importance
    [A-Za-z0-9._~+/=-]{8,}
    """,
    re.VERBOSE,
)
_USER_OF_URL = re.compile(r"(?:(?<=://)[^\s/?#@:]*:[^\s/?#]*|(?:(?<=https://)|(?<=http://))[^\s/?#@:]+)@")
_PASSWORD_WITH_SLASH = re.compile(
    r"""(?<=://)(?!\[)[^\s/?#@:"'<>]{0,100}:(?!\d{1,5}[/?#])[^\s@"'<>]{1,200}@"""  # a port before a path is none
)

_HEADER = "(?:(?:proxy-)?authorization|(?:set-)?cookie|x[-_]api[-_]key|x[-_]auth[-_]token)"
_NAME = (
    "(?:authorization|cookie|(?:api|access|secret|private|signing|encryption)[-_]?key|passw(?:or)?d|pwd(?!=/)"
    "|passphrase|secret|credentials?|token)"
)
_NOTHING = r"""(?:None|True|False|null|true|false)(?![^\s&"'<>),;\]}])"""
_QUOTED = r"""(?:"(?:[^"\\\r\n]|\\.)++|'(?:[^'\\\r\n]|\\.)++)"""
_ESCAPED = r"""(?P<escape>\\++)(?P<quote>["'])(?:(?!(?P=escape)(?P=quote))(?:[^\\\r\n]|\\++[^\r\n]?))++"""
"""Within a quoted text: what closes it has as many backslashes before it as what opened it."""

_GIVEN_QUOTED = re.compile(
    rf"""
    (?P<name>
        {_NAME}\\*+["']\s*+(?::|=>)\s*+[\[(]?      # {{'api_key': '…'}}, {{"api_key": ["…"]}}
      | [\[(]b?\\*+["']{_HEADER}\\*+["']\s*+,\s*+  # (b'x-api-key', b'…')
      | {_NAME}[ \t]*+=[ \t]*+                     # api_key='…'
      | (?:(?!token){_NAME}|(?<=[{{_-])token):[ \t]*+  # api_key: '…', and not: unexpected token: '}}'
    )
    (?P<opening>b?)
    (?:{_QUOTED}|{_ESCAPED})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_GIVEN_BARE = re.compile(rf"""(?P<name>{_NAME}=)(?!=)(?!{_NOTHING})[^\s&"'<>]*[^\s&"'<>),;\]}}.]""", re.IGNORECASE)
_HEADER_LINE = re.compile(
    r"""
    (?P<name>(?:authorization|cookie)[ \t]*+:[ \t]*+)
    (?!(?:Bearer|Basic)(?![ \t]))                             # which only tells how such a header looks
    (?:=["'][^"'\r\n]*+["']?|\\(?![rn])|[^\r\n"'\\])++       # also in the repr of bytes
  | (?P<other>x[-_](?:api[-_]key|auth[-_]token)[ \t]*+:[ \t]*+)[^\s"'`\\<>]++
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HINTS = ("key", "token", "passw", "pwd", "passphrase", "secret", "credential", "authorization", "cookie")
"""One of them is in each name above: most texts have none, and are done with then."""

_SECRET_WORDS = {
    "apikey", "authorization", "cookie", "cookies", "credential", "credentials", "passphrase", "passwd",
    "password", "passwords", "pwd", "secret", "secrets",
}  # fmt: skip
_SECRET_PAIRS = {
    (kind, key) for kind in ("api", "access", "private", "signing", "encryption") for key in ("key", "keys")
}
_COUNT_WORDS = {"max", "min", "count", "limit", "per", "input", "output", "total", "used"}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def mask(value: Any) -> Any:
    """A copy of a JSON-like `value`, of the same shape, with every secret replaced by `***`."""
    match value:
        case str():
            return mask_text(value)
        case dict():
            return {_masked_key(key): _mask_entry(key, each) for key, each in value.items()}
        case list() | tuple():
            return [mask(each) for each in value]
        case _:
            return value


def mask_text(text: str) -> str:
    """`text` with the parts that look like a key, a token or a password replaced by `***`."""
    text = _SECRET_TEXT.sub(MASK, text)
    lowered = text.lower()
    if any(hint in lowered for hint in _HINTS):
        text = _HEADER_LINE.sub(_without_value, text)
        text = _GIVEN_QUOTED.sub(_without_quoted_value, text)
        text = _GIVEN_BARE.sub(rf"\g<name>{MASK}", text)
    text = _SCHEME.sub(MASK, text)
    if "://" in text and "@" in text:
        text = _USER_OF_URL.sub(f"{MASK}@", text)
        text = _PASSWORD_WITH_SLASH.sub(f"{MASK}@", text)
    return text


def _without_value(found: re.Match[str]) -> str:
    return f"{found['name'] or found['other']}{MASK}"


def _without_quoted_value(found: re.Match[str]) -> str:
    """The quote that closes the value is not part of the match."""
    opening = found["escape"] + found["quote"] if found["escape"] else found[0][found.end("opening") - found.start()]
    return f"{found['name']}{found['opening']}{opening}{MASK}"


def names_a_secret(key: str) -> bool:
    """Whether a key such as `api_key`, `dbPassword` or `X-Auth-Token` names a secret; `api_key_env` names a name."""
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words or words[-1] == "env":
        return False
    return not _SECRET_WORDS.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(pairwise(words))


def _names_a_token(key: str) -> bool:
    """Tokens are secrets as text and counts as numbers (`max_tokens`), so they are asked for apart."""
    words = [word.lower() for word in _WORDS.findall(key)]
    is_count = not _COUNT_WORDS.isdisjoint(words)
    return not {"token", "tokens"}.isdisjoint(words) and not is_count and words[-1] != "env"


def _masked_key(key: Any) -> Any:
    return mask_text(key) if isinstance(key, str) else key


def _mask_entry(key: Any, value: Any) -> Any:
    if isinstance(key, str) and names_a_secret(key):
        return _mask_all(value, numbers=True)
    if isinstance(key, str) and _names_a_token(key):
        return _mask_all(value, numbers=False)
    return mask(value)


def _mask_all(value: Any, *, numbers: bool) -> Any:
    """Masks every scalar below a key that names a secret; what is empty or a flag tells nothing and stays."""
    match value:
        case dict():
            return {_masked_key(key): _mask_all(each, numbers=numbers) for key, each in value.items()}
        case list() | tuple():
            return [_mask_all(each, numbers=numbers) for each in value]
        case None | bool() | "":
            return value
        case int() | float():
            return MASK if numbers else value
        case _:
            return MASK
