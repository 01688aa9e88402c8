"""Bearer tokens of others: https://www.rfc-editor.org/rfc/rfc8725 says what is to be minded."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt

from organism.access.named import MIN_SECRET_BYTES
from organism.access.principal import Bounds, Principal, Role
from organism.config import JwtSection
from organism.errors import ConfigError, Unauthenticated
from organism.web_names import is_safe_to_trust
from serve_app.jwks import KeyFile, KeySource, KeyUrl, Secret

MAX_TOKEN_CHARS = 8192
MAX_SUB_CHARS = 190
"""With `user:` before it, it stands whole in the audit log."""

MAX_CACHED = 10_000

RECHECK_S = 300.0
"""A token is verified anew after so long, so that one of a withdrawn key does not count until it expires."""

LAST_TIME_S = 253_402_300_800
"""The end of the year 9999."""

NOT_VERIFIED = "this token is none, or not signed by a key and in a way that is accepted here"


class TokenVerifier:
    """section: auth.jwt. secret: what secret_env holds. folder: the organism's. clock: in seconds since 1970.

    Raises:
        ConfigError: there is nothing to verify tokens with, or it is not safe.
    """

    def __init__(
        self, section: JwtSection, secret: str | None, folder: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self._section = section
        self._clock = clock
        self._keys = _source(section, secret, folder, clock)
        self._algorithms = _algorithms(section)
        self._cached: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def cached(self, text: str) -> Principal | None:
        """Who sent it, where it was verified lately; without waiting."""
        if not text.isascii():
            return None
        return self._recall(_hash(text))

    async def verify(self, text: str) -> Principal:
        """Raises: Unauthenticated; OrganismUnreachable, where the keys are not to be had."""
        if len(text) > MAX_TOKEN_CHARS or not text.isascii():
            raise Unauthenticated(NOT_VERIFIED)
        credential = _hash(text)
        if (known := self._recall(credential)) is not None:
            return known
        claims = await self._claims(text)
        until_s = self._check_times(claims)
        principal = Principal(
            f"user:{_subject(claims)}",
            self._role(claims),
            _bounds(claims),
            credential,
            int(until_s * 1000),
        )
        self._remember(principal, until_s)
        return principal

    async def _claims(self, text: str) -> dict[str, Any]:
        """Of a token with a right signature, for us, from whom we trust."""
        try:
            header = jwt.get_unverified_header(text)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated(NOT_VERIFIED) from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms or not isinstance(kid, str | None):
            raise Unauthenticated(NOT_VERIFIED)
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise Unauthenticated(NOT_VERIFIED)
        try:
            return self._decode(text, key, algorithm)
        except jwt.InvalidIssuerError:
            raise Unauthenticated("this token is of another issuer than is trusted here") from None
        except jwt.InvalidAudienceError:
            raise Unauthenticated("this token is for another audience") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"this token has no claim {error.claim}") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated(NOT_VERIFIED) from None

    def _decode(self, text: str, key: Any, algorithm: str) -> dict[str, Any]:
        """Times are checked by our clock, afterwards."""
        section = self._section
        return jwt.decode(
            text,
            key,
            algorithms=[algorithm],
            audience=section.audience,
            issuer=section.issuer,
            options={
                "require": ["exp", "sub"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_aud": section.audience is not None,
                "verify_iss": section.issuer is not None,
            },
        )

    def _check_times(self, claims: dict[str, Any]) -> float:
        """Returns until when it is taken, in seconds since 1970: its expiry, and the leeway."""
        now, leeway_s = self._clock(), self._section.leeway_s
        until_s = _time(claims, "exp") + leeway_s
        if now >= until_s:
            raise Unauthenticated("this token has expired; get another")
        for claim in ("nbf", "iat"):
            if claim in claims and now < _time(claims, claim) - leeway_s:
                raise Unauthenticated("this token is not valid yet; are the clocks right?")
        return until_s

    def _role(self, claims: dict[str, Any]) -> Role:
        name = claims.get(self._section.role_claim)
        try:
            return Role.named(name if isinstance(name, str) else "")
        except KeyError:
            raise Unauthenticated(
                f"this token's claim {self._section.role_claim!r} is none of viewer, operator and admin"
            ) from None

    def _recall(self, credential: str) -> Principal | None:
        found = self._cached.get(credential)
        if found is None:
            return None
        if self._clock() >= found[1]:
            del self._cached[credential]
            return None
        self._cached.move_to_end(credential)
        return found[0]

    def _remember(self, principal: Principal, until_s: float) -> None:
        self._cached[principal.credential] = principal, min(until_s, self._clock() + RECHECK_S)
        if len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)


def _source(section: JwtSection, secret: str | None, folder: Path, clock: Callable[[], float]) -> KeySource:
    if section.secret_env is not None:
        if secret is None or len(secret.encode()) < MIN_SECRET_BYTES:
            problem = "is not set" if not secret else f"has fewer than {MIN_SECRET_BYTES} bytes"
            raise _unusable("secret_env", f"the variable {section.secret_env} {problem}", "Set it to a random one")
        return Secret(secret.encode())
    if section.jwks_file is not None:
        return KeyFile(folder / section.jwks_file)
    if section.jwks_url is None:
        raise _unusable("secret_env", "there is nothing to verify tokens with", "Give jwks_file or jwks_url instead")
    if not is_safe_to_trust(section.jwks_url):
        raise _unusable("jwks_url", "keys that anyone on the way can change", "Give an https:// URL")
    return KeyUrl(section.jwks_url, clock)


def _algorithms(section: JwtSection) -> frozenset[str]:
    """Only what fits the keys: a public key taken for an HS256 secret would let everybody sign."""
    fitting = frozenset({"HS256"} if section.secret_env is not None else {"RS256", "EdDSA"})
    chosen = fitting.intersection(section.algorithms) if section.algorithms else fitting
    if not chosen:
        remedy = "HS256 goes with secret_env, RS256 and EdDSA with jwks_file and jwks_url"
        raise _unusable("algorithms", "none of them fits the keys", remedy)
    return chosen


def _unusable(field: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError("organism.yaml", None, f"auth.jwt.{field}", problem, remedy)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _time(claims: dict[str, Any], claim: str) -> float:
    value = claims[claim]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LAST_TIME_S:
        return value
    raise Unauthenticated(f"this token's claim {claim} is no time in seconds since 1970")


def _subject(claims: dict[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUB_CHARS or not subject.isprintable():
        raise Unauthenticated(f"this token's claim sub is no text of 1 to {MAX_SUB_CHARS} printable characters")
    return subject


def _bounds(claims: dict[str, Any]) -> Bounds | None:
    named = [claim for claim in Bounds._fields if claim in claims]
    for claim in named:
        names = claims[claim]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Unauthenticated(f"this token's claim {claim} is no list of names")
    return Bounds(**{claim: frozenset(claims[claim]) for claim in named}) if named else None
