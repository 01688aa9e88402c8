from __future__ import annotations

from typing import Any

import pytest

from organism.config import OrganismConfig
from organism.config_rules import breaches


def found(**sections: Any) -> list[tuple[str, str]]:
    config = OrganismConfig.model_validate({"organism": {"name": "x"}, **sections})
    return [(".".join(map(str, each.location)), f"{each.problem}. {each.remedy}") for each in breaches(config)]


def test_origins_and_hosts_as_they_are_compared_are_no_problem() -> None:
    origins = ["https://app.example.org", "http://localhost:3000", "http://[::1]:3000", "https://xn--strae-oqa.example"]
    hosts = ["example.org", "Example.org", "*.internal", "192.0.2.7", "2001:db8::1", "organism_1"]
    assert found(api={"cors_origins": origins, "allowed_hosts": hosts}) == []


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        ("https://app.example.org/", "no origin as browsers send it. Write https://app.example.org"),
        ("https://app.example.org:443", "Write https://app.example.org"),
        ("https://App.example.org", "Write https://app.example.org"),
        ("https://bücher.example", "Write https://xn--bcher-kva.example"),
        ("app.example.org", "Write https://app.example.org"),
        ("*", "'*' would let in every web page there is. List the pages that may"),
        ("null", "'null' would let in pages of anybody"),
        ("https://*.example.org", "Write scheme and host, and no more"),
        ("file:///home", "Write scheme and host, and no more"),
        ("", "Write scheme and host, and no more"),
    ],
)
def test_an_origin_of_another_form_is_told_with_the_right_one(origin: str, text: str) -> None:
    [(place, told)] = found(api={"cors_origins": ["https://a.example", origin]})
    assert place == "api.cors_origins.1"
    assert text in told


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("https://example.org/", "no name or address alone. Write example.org"),
        ("example.org:8000", "Write example.org"),
        ("[2001:db8::1]", "Write 2001:db8::1"),
        ("*.bücher.example", "Write *.xn--bcher-kva.example"),
        ("*", "Leave allowed_hosts empty"),
        ("*.", "Write one such as example.org"),
        ("", "Write one such as example.org"),
    ],
)
def test_a_host_of_another_form_is_told_with_the_right_one(host: str, text: str) -> None:
    [(place, told)] = found(api={"allowed_hosts": [host]})
    assert place == "api.allowed_hosts.0"
    assert text in told


@pytest.mark.parametrize(
    "jwt",
    [
        {"secret_env": "JWT_SECRET", "algorithms": ["HS256"]},
        {"jwks_file": "keys.json"},
        {"jwks_url": "https://login.example.org/keys", "algorithms": ["RS256", "EdDSA"]},
        {"jwks_url": "http://127.0.0.1:9000/keys"},
    ],
)
def test_one_source_of_keys_is_no_problem(jwt: dict[str, Any]) -> None:
    assert found(auth={"jwt": jwt}) == []


@pytest.mark.parametrize(
    ("jwt", "place", "text"),
    [
        ({}, "", "has 0 sources of keys"),
        ({"secret_env": "S", "jwks_file": "keys.json"}, "", "has 2 sources of keys"),
        ({"jwks_file": "keys.json", "algorithms": ["RS256", "HS256"]}, ".algorithms.1", "HS256 does not fit"),
        ({"secret_env": "S", "algorithms": ["EdDSA"]}, ".algorithms.0", "EdDSA does not fit"),
        ({"secret_env": "the secret itself"}, ".secret_env", "no name of an environment variable"),
        ({"secret_env": ""}, ".secret_env", "no name of an environment variable"),
        ({"jwks_url": "http://login.example.org/keys"}, ".jwks_url", "Give an https:// URL"),
        ({"jwks_url": "login.example.org"}, ".jwks_url", "Give an https:// URL"),
    ],
)
def test_tokens_that_cannot_be_verified_are_a_problem(jwt: dict[str, Any], place: str, text: str) -> None:
    [(where, told)] = found(auth={"jwt": jwt})
    assert where == f"auth.jwt{place}"
    assert text in told


def test_secrets_that_were_written_into_a_url_are_not_shown() -> None:
    url = "http://ann:hunter2-hunter2@login.example.org/keys"
    told = found(auth={"jwt": {"jwks_url": url}}, api={"cors_origins": [url], "allowed_hosts": [url]})
    assert len(told) == 3
    assert "hunter2" not in str(told)
