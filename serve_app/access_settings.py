"""From organism.yaml to what an API replica wants to know of who may use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from organism.config import JwtSection, OrganismConfig
from serve_app.gate import Place
from serve_app.jwt_tokens import TokenVerifier


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
    """
    api, jwt = config.api, config.auth.jwt
    place = Place(host, api.allowed_hosts, api.cors_origins, has_tls=config.tls is not None)
    secret = environ.get(jwt.secret_env) if jwt is not None and jwt.secret_env is not None else None
    return AccessSettings(place, jwt, secret, str(folder))
