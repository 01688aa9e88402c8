"""From organism.yaml to what an API replica wants to know of who may use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from organism.config import JwtSection, OrganismConfig
from organism.errors import ConfigError
from serve_app.gate import Place
from serve_app.jwt_tokens import TokenVerifier

MIN_SECRET_BYTES = 32
"""Of HS256, as long as its hash: https://datatracker.ietf.org/doc/html/rfc7518#section-3.2."""


class AccessSettings(NamedTuple):
    """place: where the API is served. jwt: None where tokens are not taken; jwt_secret: what HS256 tokens are signed
    with. folder: the organism's, where jwks_file is."""

    place: Place
    jwt: JwtSection | None
    jwt_secret: str | None
    folder: str

    def verifier(self) -> TokenVerifier | None:
        return None if self.jwt is None else TokenVerifier(self.jwt, self.jwt_secret, Path(self.folder))


def access_settings(config: OrganismConfig, folder: Path, host: str, environ: Mapping[str, str]) -> AccessSettings:
    """
    Args:
        host: that the API listens at.
        environ: with the variable that auth.jwt.secret_env names.

    Raises:
        ConfigError: auth.jwt cannot be used.
    """
    api, jwt = config.api, config.auth.jwt
    place = Place(host, api.allowed_hosts, api.cors_origins, has_tls=config.tls is not None)
    secret = None if jwt is None else _checked_secret(jwt, folder, environ)
    return AccessSettings(place, jwt, secret, str(folder))


def _checked_secret(jwt: JwtSection, folder: Path, environ: Mapping[str, str]) -> str | None:
    def wrong(field: str, problem: str, remedy: str) -> ConfigError:
        return ConfigError(str(folder / "organism.yaml"), None, f"auth.jwt{field}", problem, remedy)

    sources = [each for each in (jwt.secret_env, jwt.jwks_file, jwt.jwks_url) if each]
    if len(sources) != 1:
        raise wrong("", f"has {len(sources)} sources of keys", "Give one of secret_env, jwks_file and jwks_url")
    if bad := [each for each in jwt.algorithms if (each == "HS256") != bool(jwt.secret_env)]:
        raise wrong(".algorithms", f"has {bad[0]}", "HS256 goes with secret_env, RS256 and EdDSA with a JWKS")
    if jwt.jwks_file is not None and not (folder / jwt.jwks_file).is_file():
        raise wrong(".jwks_file", f"{jwt.jwks_file!r} is not there", "Paths count from the organism's folder")
    if jwt.secret_env is None:
        return None
    secret = environ.get(jwt.secret_env, "")
    if not secret:
        raise wrong(".secret_env", f"names {jwt.secret_env}, which is not set", "Set it, or put it into .env")
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise wrong(".secret_env", f"{jwt.secret_env} is too short", f"Use {MIN_SECRET_BYTES} random bytes or more")
    return secret
