"""The public keys that tokens are signed with, as issuers publish them: https://www.rfc-editor.org/rfc/rfc7517."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_BYTES = 1_000_000
MAX_KEYS = 100
MIN_RSA_BITS = 2048

_ALGORITHMS = {"RSA": "RS256", "OKP": "EdDSA"}


class PublicKey(NamedTuple):
    kid: str | None
    algorithm: str
    key: Any


def parse_keys(content: bytes) -> list[PublicKey]:
    """Those that can be used. Raises: ValueError, where there are none."""
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("it is no JSON Web Key Set") from error
    if not isinstance(entries, list):
        raise ValueError("it is no JSON Web Key Set")
    keys = [key for entry in entries[:MAX_KEYS] if isinstance(entry, dict) and (key := _parsed(entry)) is not None]
    if not keys:
        raise ValueError(f"it has no key for RS256 (of {MIN_RSA_BITS} bits or more) or EdDSA")
    return keys


def _parsed(entry: dict[str, Any]) -> PublicKey | None:
    """None for one that is not for this: another kind, for encryption, too short, or private."""
    algorithm = _ALGORITHMS.get(str(entry.get("kty")))
    if (
        algorithm is None
        or "d" in entry
        or entry.get("alg", algorithm) != algorithm
        or entry.get("use", "sig") != "sig"
    ):
        return None
    try:
        key = jwt.PyJWK(entry, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    kid = entry.get("kid")
    is_strong = isinstance(key, Ed25519PublicKey | Ed448PublicKey) or (
        isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS
    )
    return PublicKey(kid if isinstance(kid, str) else None, algorithm, key) if is_strong else None
