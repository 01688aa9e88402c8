"""API keys: `org_<id>_<secret>`. Of the secret only a salted hash is kept.

The secret has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess that a slow hash, made for
passwords, would make dearer; and it is computed for each request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal, NamedTuple

from organism.access.principal import Bounds, Principal, Role
from organism.messages import iso_timestamp

KeyState = Literal["usable", "expired", "revoked"]

ID_CHARS = "abcdefghijkmnpqrstuvwxyz23456789"
ID_LENGTH = 10
SECRET_BYTES = 32
SALT_BYTES = 16

_KEY = re.compile(r"org_([a-z2-9]{10})_([A-Za-z0-9_-]{43})")


class ApiKey(NamedTuple):
    """A key as it is stored. Times in milliseconds since 1970; `name` is free again once a key is revoked."""

    id: str
    name: str
    role: Role
    bounds: Bounds | None
    salt: bytes
    hash: bytes
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None

    def __repr__(self) -> str:
        """Without salt and hash, wherever it may be written."""
        return f"ApiKey(id={self.id!r}, name={self.name!r}, role={self.role!r}, bounds={self.bounds!r})"

    @property
    def principal(self) -> Principal:
        return Principal(f"key:{self.name}", self.role, self.bounds, self.id, self.expires_at)

    def is_usable(self, now_ms: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now_ms < self.expires_at)

    def state(self, now_ms: int) -> KeyState:
        if self.revoked_at is not None:
            return "revoked"
        return "usable" if self.is_usable(now_ms) else "expired"

    def to_api(self, now_ms: int) -> dict[str, object]:
        """As it is shown: without salt and hash."""
        times = ("created_at", "expires_at", "revoked_at", "last_used_at")
        shown = {name: None if (at := getattr(self, name)) is None else iso_timestamp(at) for name in times}
        bounds = None if self.bounds is None else self.bounds.to_api()
        role, state = self.role.label, self.state(now_ms)
        return {"id": self.id, "name": self.name, "role": role, "bounds": bounds, "state": state, **shown}

    def fits(self, secret: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.hash, hash_of(self.salt, secret))


class NewKey(NamedTuple):
    """What is chosen of a key. expires_at: in milliseconds since 1970; None for never."""

    name: str
    role: Role
    bounds: Bounds | None = None
    expires_at: int | None = None


class IssuedKey(NamedTuple):
    """text: the key itself, which is shown once and kept nowhere."""

    text: str
    key: ApiKey

    def __repr__(self) -> str:
        return f"IssuedKey(text='***', key={self.key!r})"


def issue(new: NewKey, now_ms: int) -> IssuedKey:
    key_id = "".join(secrets.choice(ID_CHARS) for _ in range(ID_LENGTH))
    secret, salt = secrets.token_urlsafe(SECRET_BYTES), secrets.token_bytes(SALT_BYTES)
    key = ApiKey(key_id, new.name, new.role, new.bounds, salt, hash_of(salt, secret), now_ms, new.expires_at)
    return IssuedKey(f"org_{key_id}_{secret}", key)


def parse_key(text: str) -> tuple[str, str] | None:
    """Id and secret; None where `text` is no key at all."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None


def hash_of(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()
