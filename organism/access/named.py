"""What `tls` and `auth.jwt` of organism.yaml name outside of it, files and a variable: whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from organism.config import JwtSection, OrganismConfig
from organism.config_file import as_error, read_config_text
from organism.config_rules import Breach
from organism.yaml_source import parse_yaml

MIN_SECRET_BYTES = 32
"""Of HS256, as long as its hash: https://datatracker.ietf.org/doc/html/rfc7518#section-3.2."""


def unusable(config: OrganismConfig, folder: Path, environ: Mapping[str, str]) -> Iterator[Breach]:
    """
    Args:
        folder: the organism's, which paths count from.
        environ: with the variable that auth.jwt.secret_env names.
    """
    if (tls := config.tls) is not None:
        from organism.access.certificates import unusable_certificate  # few need what it imports

        yield from unusable_certificate(folder / tls.cert, folder / tls.key)
    if (jwt := config.auth.jwt) is None:
        return
    if jwt.secret_env is not None:
        yield from _unusable_secret(jwt.secret_env, environ)
    if jwt.jwks_file is not None:
        yield from _unusable_keys(jwt, folder / jwt.jwks_file)


def require_usable(config: OrganismConfig, file: Path, environ: Mapping[str, str]) -> None:
    """`config` is that of `file`.

    Raises:
        ConfigError: something cannot be used; ConfigErrors when there is more than one problem.
    """
    if found := list(unusable(config, file.parent.absolute(), environ)):
        raise as_error(parse_yaml(read_config_text(file), str(file)), found)


def _unusable_secret(name: str, environ: Mapping[str, str]) -> Iterator[Breach]:
    place = "auth", "jwt", "secret_env"
    secret = environ.get(name, "")
    if not secret:
        yield Breach(place, f"names {name}, which is not set", "Set it, or put it into .env")
    elif (size := len(secret.encode(errors="replace"))) < MIN_SECRET_BYTES:
        remedy = f"Use {MIN_SECRET_BYTES} random bytes or more, as of `openssl rand -hex 32`"
        yield Breach(place, f"{name} holds {size} bytes, which is too short", remedy)


def _unusable_keys(jwt: JwtSection, file: Path) -> Iterator[Breach]:
    from organism.access.public_keys import MAX_BYTES, parse_keys

    place = "auth", "jwt", "jwks_file"
    remedy = 'Give a JSON Web Key Set, {"keys": […]}, with public keys for RS256 or EdDSA'
    try:
        found = {each.algorithm for each in parse_keys(file.read_bytes()[:MAX_BYTES])}
    except OSError as error:
        problem = f"{file} cannot be read: {error.strerror}"
        yield Breach(place, problem, "Check its permissions, and its path, which counts from the organism's folder")
    except ValueError as error:
        yield Breach(place, f"{file} cannot be used: {error}", remedy)
    else:
        if jwt.algorithms and found.isdisjoint(jwt.algorithms):
            problem = f"{file} has keys for {' and '.join(sorted(found))} alone"
            yield Breach(place, problem, "Name that in auth.jwt.algorithms, or give another file")
