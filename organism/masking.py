"""Masking of secrets in JSON-like values, before they leave through the API.

Masked are strings that look like a secret, wherever they stand, and everything below a key that names one.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

MASK = "***"

_SECRET_TEXT = re.compile(
    r"""
      -----BEGIN\ [A-Z0-9 ]*PRIVATE\ KEY-----(?:.*?-----END\ [A-Z0-9 ]*PRIVATE\ KEY-----|.*)   # PEM, also cut off
    | (?<![A-Za-z0-9])(?:sk|pk|rk|xai|gsk|hf|glpat|xox[abeprs])[-_][A-Za-z0-9_-]{8,}    # OpenAI, Stripe, xAI, Slack, …
    | (?<![A-Za-z0-9])(?:gh[opsur]|github_pat|npm|pypi)[-_][A-Za-z0-9_-]{16,}           # GitHub and registries
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])                          # AWS
    | (?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{30,}                                            # Google
    | (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?    # JWT
    """,
    re.VERBOSE | re.DOTALL,
)
_AUTHORIZATION = re.compile(r"\b(?:Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)[^\s/?#@:]*:[^\s/?#]*@")

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
    text = _AUTHORIZATION.sub(MASK, text)
    return _URL_PASSWORD.sub(f"{MASK}@", text)


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
