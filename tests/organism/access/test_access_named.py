"""What tls and auth.jwt name: certificates, keys, a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from organism.access.named import require_usable, unusable
from organism.config import OrganismConfig
from organism.errors import ConfigError, ConfigErrors
from tests.organism.cli_certificate import write_certificate

TLS = {"cert": "certificate.pem", "key": "key.pem"}
LONG = "a secret that is long enough for HS256"
ED_KEY = json.loads(OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key()))


def config_with(**sections: Any) -> OrganismConfig:
    return OrganismConfig.model_validate({"organism": {"name": "x"}, **sections})


def found(folder: Path, environ: Mapping[str, str] | None = None, **sections: Any) -> list[tuple[str, str]]:
    breaches = unusable(config_with(**sections), folder, environ or {})
    return [(".".join(map(str, each.location)), f"{each.problem}. {each.remedy}") for each in breaches]


def tokens(**section: Any) -> dict[str, Any]:
    return {"jwt": section}


def test_without_tls_and_tokens_nothing_is_looked_at(tmp_path: Path) -> None:
    assert found(tmp_path / "none") == []


def test_a_certificate_with_its_key_is_no_problem(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    assert found(tmp_path, tls=TLS) == []


def test_each_missing_file_is_a_problem(tmp_path: Path) -> None:
    cert, key = found(tmp_path, tls=TLS)
    assert (cert[0], key[0]) == ("tls.cert", "tls.key")
    assert f"{tmp_path / 'certificate.pem'} cannot be read: No such file" in cert[1]
    assert f"{tmp_path / 'key.pem'} cannot be read: No such file" in key[1]


def test_a_folder_in_the_place_of_a_file_is_a_problem(tmp_path: Path) -> None:
    write_certificate(tmp_path)[0].unlink()
    (tmp_path / "certificate.pem").mkdir()
    [(place, told)] = found(tmp_path, tls=TLS)
    assert (place, "Is a directory" in told) == ("tls.cert", True)


@pytest.mark.parametrize(("name", "field"), [("certificate.pem", "cert"), ("key.pem", "key")])
def test_what_is_no_pem_is_a_problem(tmp_path: Path, name: str, field: str) -> None:
    write_certificate(tmp_path)
    (tmp_path / name).write_bytes(b"\xff hello")
    [(place, told)] = found(tmp_path, tls=TLS)
    assert place == f"tls.{field}"
    assert "is no PEM" in told


def test_the_key_of_another_certificate_is_a_problem(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    write_certificate(tmp_path / "other")[1].rename(tmp_path / "key.pem")
    [(place, told)] = found(tmp_path, tls=TLS)
    assert (place, "is not the private key of" in told) == ("tls.key", True)


def test_a_key_with_a_passphrase_is_a_problem(tmp_path: Path) -> None:
    file = write_certificate(tmp_path)[1]
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    [(place, told)] = found(tmp_path, tls=TLS)
    assert (place, "has a passphrase" in told) == ("tls.key", True)


@pytest.mark.parametrize(("begins", "ends", "text"), [(-2, -1, "has expired at"), (1, 2, "holds only from")])
def test_a_certificate_that_clients_refuse_today_is_a_problem(
    tmp_path: Path, begins: int, ends: int, text: str
) -> None:
    write_certificate(tmp_path, begins_days=begins, ends_days=ends)
    [(place, told)] = found(tmp_path, tls=TLS)
    assert place == "tls.cert"
    assert text in told
    assert "clients refuse it" in told


def test_a_chain_that_openssl_does_not_take_is_a_problem(tmp_path: Path) -> None:
    with write_certificate(tmp_path)[0].open("a") as file:
        file.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    [(place, told)] = found(tmp_path, tls=TLS)
    assert (place, "is not taken by OpenSSL" in told) == ("tls.cert", True)


@pytest.mark.parametrize(("environ", "text"), [({}, "S, which is not set"), ({"S": "short"}, "S holds 5 bytes")])
def test_a_secret_that_is_not_there_or_too_short_is_a_problem(
    tmp_path: Path, environ: dict[str, str], text: str
) -> None:
    [(place, told)] = found(tmp_path, environ, auth=tokens(secret_env="S"))
    assert (place, text in told) == ("auth.jwt.secret_env", True)


def test_a_long_secret_is_no_problem_and_a_url_is_not_called(tmp_path: Path) -> None:
    assert found(tmp_path, {"S": LONG}, auth=tokens(secret_env="S")) == []
    assert found(tmp_path, auth=tokens(jwks_url="https://nobody.invalid/keys")) == []


def test_a_file_with_a_public_key_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [ED_KEY]}))
    assert found(tmp_path, auth=tokens(jwks_file="keys.json")) == []
    assert found(tmp_path, auth=tokens(jwks_file="keys.json", algorithms=["EdDSA"])) == []


SHORT_RSA = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))


@pytest.mark.parametrize(
    ("content", "algorithms", "text"),
    [
        (None, [], "cannot be read: No such file"),
        ("hello", [], "it is no JSON Web Key Set"),
        ("[]", [], "it is no JSON Web Key Set"),
        ('{"keys": []}', [], "it has no key for RS256"),
        (json.dumps({"keys": [SHORT_RSA]}), [], "of 2048 bits or more"),
        (json.dumps({"keys": [ED_KEY]}), ["RS256"], "has keys for EdDSA alone"),
    ],
)
def test_a_file_without_a_usable_key_is_a_problem(
    tmp_path: Path, content: str | None, algorithms: list[str], text: str
) -> None:
    if content is not None:
        (tmp_path / "keys.json").write_text(content)
    [(place, told)] = found(tmp_path, auth=tokens(jwks_file="keys.json", algorithms=algorithms))
    assert (place, text in told) == ("auth.jwt.jwks_file", True)


def test_problems_are_raised_together_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "organism.yaml"
    file.write_text("organism: {name: x}\nauth:\n  jwt:\n    secret_env: S\ntls:\n  cert: a\n  key: b\n")
    config = config_with(auth=tokens(secret_env="S"), tls={"cert": "a", "key": "b"})
    with pytest.raises(ConfigErrors) as errors:
        require_usable(config, file, {})
    places = [(each.line, each.field) for each in errors.value.problems]
    assert places == [(4, "auth.jwt.secret_env"), (6, "tls.cert"), (7, "tls.key")]
    write_certificate(tmp_path)
    with pytest.raises(ConfigError, match="not set"):
        require_usable(config_with(auth=tokens(secret_env="S"), tls=TLS), file, {})
    require_usable(config_with(auth=tokens(secret_env="S"), tls=TLS), file, {"S": LONG})
