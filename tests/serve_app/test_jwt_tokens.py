from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from organism.access.principal import Bounds, Principal, Role
from organism.config import JwtSection
from organism.errors import ConfigError, OrganismUnreachable, Unauthenticated
from serve_app import jwt_tokens
from serve_app.auditor import MAX_TEXT_CHARS
from serve_app.jwks import KEEP_S, MAX_BYTES, REFRESH_S, RETRY_S, parse_keys
from serve_app.jwt_tokens import MAX_SUB_CHARS, MAX_TOKEN_CHARS, NOT_VERIFIED, RECHECK_S, TokenVerifier

SECRET = "a secret that is long enough to sign tokens with"
NOW_S = 1_800_000_000.0
HERE = Path()

RSA_KEY = rsa.generate_private_key(65537, 2048)
SHORT_RSA_KEY = rsa.generate_private_key(65537, 1024)
ED_KEY = Ed25519PrivateKey.generate()
OTHER_ED_KEY = Ed25519PrivateKey.generate()


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def claims(**changes: Any) -> dict[str, Any]:
    """None takes a claim away."""
    given = {"sub": "ann", "role": "operator", "exp": NOW_S + 3600, **changes}
    return {name: value for name, value in given.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, {"kid": kid} if kid else None)


def public(key: Any, kid: str | None = None, **changes: str) -> dict[str, Any]:
    algorithm: Any = jwt.algorithms.RSAAlgorithm if hasattr(key, "key_size") else jwt.algorithms.OKPAlgorithm
    entry = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**entry, **({"kid": kid} if kid else {}), **changes}


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def without_signature(header: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in (header, claims())]
    return ".".join([*parts, ""])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(clock) -> TokenVerifier:
    return TokenVerifier(JwtSection(secret_env="JWT_SECRET"), SECRET, HERE, clock)


@pytest.fixture
def file(tmp_path) -> Path:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(public(RSA_KEY, "r"), public(ED_KEY, "e")))
    return file


@pytest.fixture
def file_verifier(file, clock) -> TokenVerifier:
    return TokenVerifier(JwtSection(jwks_file=file.name), None, file.parent, clock)


class Issuer(ThreadingHTTPServer):
    """Publishes keys over HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = key_set(public(ED_KEY, "e"))
        self.status = 200
        self.location = ""
        self.delay_s = 0.0
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/jwks.json"


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.asked += 1
        time.sleep(self.server.delay_s)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("location", self.server.location)
        self.send_header("content-length", str(len(self.server.content)))
        self.end_headers()
        with suppress(OSError):  # who asked has gone
            self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    serving = Thread(target=issuer.serve_forever, args=(0.01,))
    serving.start()
    yield issuer
    issuer.shutdown()
    serving.join()
    issuer.server_close()


@pytest.fixture
def url_verifier(issuer, clock) -> TokenVerifier:
    return TokenVerifier(JwtSection(jwks_url=issuer.url), None, HERE, clock)


async def refusal(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await verifier.verify(token)
    assert verifier.cached(token) is None
    return str(caught.value)


async def test_a_token_tells_who_asks(verifier):
    token = signed()
    credential = hashlib.sha256(token.encode()).hexdigest()
    expires_at = int((NOW_S + 3600 + 30) * 1000)  # what it opens may stay open as long as it would be taken
    assert await verifier.verify(token) == Principal("user:ann", Role.OPERATOR, None, credential, expires_at)


async def test_a_token_can_be_bound(verifier):
    bound = await verifier.verify(signed(agents=["planner", "*"], libraries=[]))
    assert bound.bounds == Bounds(frozenset({"planner", "*"}))


@pytest.mark.parametrize("value", ["planner", [1], {"a": 1}, 5])
async def test_bounds_of_another_form_are_refused(verifier, value):
    assert await refusal(verifier, signed(agents=value)) == "this token's claim agents is no list of names"


async def test_the_role_is_in_the_claim_that_was_set(clock):
    verifier = TokenVerifier(JwtSection(secret_env="S", role_claim="org/role"), SECRET, HERE, clock)
    assert (await verifier.verify(signed(role=None, **{"org/role": "admin"}))).role is Role.ADMIN


@pytest.mark.parametrize("role", [None, "root", 3, ["admin"], {}, "Admin", "ADMIN", "adm\u0131n", " admin", ""])
async def test_a_token_without_a_role_is_refused(verifier, role):
    assert "is none of viewer, operator and admin" in await refusal(verifier, signed(role=role))


@pytest.mark.parametrize("claim", ["exp", "sub"])
async def test_a_token_without_what_is_needed_is_refused(verifier, claim):
    assert await refusal(verifier, signed(**{claim: None})) == f"this token has no claim {claim}"


@pytest.mark.parametrize("subject", ["", "a\nb", "x" * (MAX_SUB_CHARS + 1), "\u202ex"])
async def test_a_subject_that_would_confuse_is_refused(verifier, subject):
    assert "claim sub is no text" in await refusal(verifier, signed(sub=subject))


async def test_the_longest_subject_stands_whole_in_the_audit_log(verifier):
    principal = await verifier.verify(signed(sub="x" * MAX_SUB_CHARS))
    assert len(principal.id) <= MAX_TEXT_CHARS


@pytest.mark.parametrize("exp", ["soon", True, -1, 1e300, float("inf"), float("nan"), [1]])
async def test_an_expiry_that_is_no_time_is_refused(verifier, exp):
    body = jwt.api_jws.encode(json.dumps(claims(exp=exp)).encode(), SECRET, "HS256")
    assert await refusal(verifier, body) == "this token's claim exp is no time in seconds since 1970"


async def test_an_expired_token_is_refused_after_the_leeway(verifier):
    await verifier.verify(signed(exp=NOW_S - 29))
    assert await refusal(verifier, signed(exp=NOW_S - 30)) == "this token has expired; get another"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_token_of_the_future_is_refused_before_the_leeway(verifier, claim):
    await verifier.verify(signed(**{claim: NOW_S + 30}))
    assert "is not valid yet" in await refusal(verifier, signed(**{claim: NOW_S + 31}))


async def test_issuer_and_audience_are_those_that_were_set(clock):
    verifier = TokenVerifier(JwtSection(secret_env="S", issuer="us", audience="organism"), SECRET, HERE, clock)
    await verifier.verify(signed(iss="us", aud=["organism", "others"]))
    assert "another issuer" in await refusal(verifier, signed(iss="them", aud="organism"))
    assert "another audience" in await refusal(verifier, signed(iss="us", aud="others"))
    assert await refusal(verifier, signed(aud="organism")) == "this token has no claim iss"
    assert await refusal(verifier, signed(iss="us")) == "this token has no claim aud"


async def test_an_audience_does_not_matter_where_none_was_set(verifier):
    await verifier.verify(signed(aud="others", iss="them"))


async def test_what_is_wrong_with_a_signature_is_not_told(verifier, file_verifier):
    assert await refusal(verifier, signed(SECRET + "x")) == NOT_VERIFIED
    assert await refusal(verifier, signed(algorithm="HS512", key=SECRET * 2)) == NOT_VERIFIED
    assert await refusal(verifier, signed(RSA_KEY, "RS256")) == NOT_VERIFIED
    assert await refusal(file_verifier, signed(OTHER_ED_KEY, "EdDSA", "e")) == NOT_VERIFIED
    assert await refusal(file_verifier, signed(ED_KEY, "EdDSA", "another")) == NOT_VERIFIED
    assert await refusal(file_verifier, signed(ED_KEY, "EdDSA", "r")) == NOT_VERIFIED
    assert await refusal(file_verifier, signed(RSA_KEY, "PS256", "r")) == NOT_VERIFIED


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 5, ["HS256"]])
async def test_a_token_without_signature_is_refused(verifier, file_verifier, algorithm):
    token = without_signature({"typ": "JWT", "alg": algorithm})
    assert await refusal(verifier, token) == NOT_VERIFIED
    assert await refusal(file_verifier, token) == NOT_VERIFIED


@pytest.mark.parametrize("form", ["pem", "jwk"])
async def test_a_public_key_is_no_secret_to_sign_with(file_verifier, form):
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret = pem if form == "pem" else json.dumps(public(RSA_KEY, "r")).encode()
    parts = without_signature({"alg": "HS256", "kid": "r"}).rstrip(".")

    mac = base64.urlsafe_b64encode(hmac.digest(secret, parts.encode(), "sha256")).rstrip(b"=").decode()
    assert await refusal(file_verifier, f"{parts}.{mac}") == NOT_VERIFIED


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA_KEY, "RS256", "r"), (ED_KEY, "EdDSA", "e")])
async def test_published_keys_verify(file_verifier, key, algorithm, kid):
    assert (await file_verifier.verify(signed(key, algorithm, kid))).id == "user:ann"
    assert (await file_verifier.verify(signed(key, algorithm, sub="bob"))).id == "user:bob"


async def test_only_the_algorithms_that_were_set_are_taken(file, clock):
    verifier = TokenVerifier(JwtSection(jwks_file=file.name, algorithms=("RS256",)), None, file.parent, clock)
    await verifier.verify(signed(RSA_KEY, "RS256", "r"))
    assert await refusal(verifier, signed(ED_KEY, "EdDSA", "e")) == NOT_VERIFIED


async def test_without_a_name_a_key_has_to_be_the_only_one(file, file_verifier):
    file.write_bytes(key_set(public(ED_KEY, "e"), public(OTHER_ED_KEY, "o")))
    assert await refusal(file_verifier, signed(ED_KEY, "EdDSA")) == NOT_VERIFIED


@pytest.mark.parametrize(
    "entry",
    [
        public(SHORT_RSA_KEY),
        public(RSA_KEY, alg="EdDSA"),
        public(ED_KEY, alg="RS256"),
        public(RSA_KEY, use="enc"),
        public(RSA_KEY, alg="RS512"),
        {**public(RSA_KEY), "kty": "OKP"},
        {**public(ED_KEY), "kty": "RSA"},
        {**public(ED_KEY), "crv": "X25519"},
        {**public(ED_KEY), "x": "AA"},
        {**public(ED_KEY), "d": "AA"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA"},
    ],
)
def test_a_key_that_does_not_fit_is_left_out(entry):
    with pytest.raises(ValueError, match="it has no key"):
        parse_keys(key_set(entry))
    assert len(parse_keys(key_set(entry, public(ED_KEY)))) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"keys": 5}', b"\xff", b"[" * 100_000, b'{"keys": [5]}'])
def test_what_is_no_key_set_says_so(content):
    with pytest.raises(ValueError, match=r"it is no JSON Web Key Set|it has no key"):
        parse_keys(content)


async def test_a_file_is_read_again_when_it_changes(file, file_verifier):
    assert await refusal(file_verifier, signed(OTHER_ED_KEY, "EdDSA", "new")) == NOT_VERIFIED
    file.write_bytes(key_set(public(OTHER_ED_KEY, "new")))
    os.utime(file, (NOW_S, NOW_S))
    await file_verifier.verify(signed(OTHER_ED_KEY, "EdDSA", "new"))
    assert await refusal(file_verifier, signed(ED_KEY, "EdDSA", "e")) == NOT_VERIFIED


async def test_a_file_that_cannot_be_read_leaves_the_keys_as_they_were(file, file_verifier):
    await file_verifier.verify(signed(ED_KEY, "EdDSA", "e"))
    file.unlink()
    await file_verifier.verify(signed(ED_KEY, "EdDSA", "e", sub="bob"))
    file.write_text("half a fi")
    await file_verifier.verify(signed(ED_KEY, "EdDSA", "e", sub="cy"))


async def test_a_file_that_was_never_there_is_no_fault_of_the_token(tmp_path, clock):
    verifier = TokenVerifier(JwtSection(jwks_file="missing.json"), None, tmp_path, clock)
    with pytest.raises(OrganismUnreachable, match="jwks_file cannot be read"):
        await verifier.verify(signed(ED_KEY, "EdDSA", "e"))


async def test_keys_are_fetched_once(issuer, url_verifier):
    tokens = [signed(ED_KEY, "EdDSA", "e", sub=str(number)) for number in range(20)]
    issuer.delay_s = 0.05
    await asyncio.gather(*(url_verifier.verify(token) for token in tokens))
    assert issuer.asked == 1


async def test_an_unknown_key_is_looked_for_again_but_not_often(issuer, url_verifier, clock):
    await url_verifier.verify(signed(ED_KEY, "EdDSA", "e"))
    issuer.content = key_set(public(ED_KEY, "e"), public(OTHER_ED_KEY, "new"))
    new = signed(OTHER_ED_KEY, "EdDSA", "new")
    assert await refusal(url_verifier, new) == NOT_VERIFIED
    assert issuer.asked == 1
    clock.now_s += RETRY_S
    await asyncio.gather(*(url_verifier.verify(new) for _ in range(5)))
    for number in range(10):
        await refusal(url_verifier, signed(ED_KEY, "EdDSA", f"no-{number}"))
    assert issuer.asked == 2


async def test_a_withdrawn_key_ends_also_for_tokens_that_were_verified(issuer, url_verifier, clock):
    token = signed(ED_KEY, "EdDSA", "e")
    await url_verifier.verify(token)
    issuer.content = key_set(public(OTHER_ED_KEY, "new"))
    clock.now_s += max(RECHECK_S, REFRESH_S) + 1
    assert await refusal(url_verifier, token) == NOT_VERIFIED


async def test_while_the_issuer_is_away_the_last_keys_stay_for_a_day(issuer, url_verifier, clock):
    exp = NOW_S + 10 * KEEP_S
    await url_verifier.verify(signed(ED_KEY, "EdDSA", "e", exp=exp))
    issuer.status = 500
    clock.now_s += KEEP_S - 1
    await url_verifier.verify(signed(ED_KEY, "EdDSA", "e", exp=exp, sub="bob"))
    clock.now_s += 2
    with pytest.raises(OrganismUnreachable):
        await url_verifier.verify(signed(ED_KEY, "EdDSA", "e", exp=exp, sub="cy"))
    issuer.status = 200
    clock.now_s += RETRY_S
    await url_verifier.verify(signed(ED_KEY, "EdDSA", "e", exp=exp, sub="cy"))


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 404},
        {"status": 302, "location": "/jwks.json"},
        {"content": b"x"},
        {"content": b" " * (MAX_BYTES + 1)},
    ],
)
async def test_keys_that_cannot_be_had_at_first_are_no_fault_of_the_token(issuer, url_verifier, clock, trouble):
    good = issuer.content
    for name, value in trouble.items():
        setattr(issuer, name, value)
    with pytest.raises(OrganismUnreachable, match="jwks_url cannot be had"):
        await url_verifier.verify(signed(ED_KEY, "EdDSA", "e"))
    assert issuer.asked == 1
    issuer.status, issuer.content = 200, good
    clock.now_s += 1
    await url_verifier.verify(signed(ED_KEY, "EdDSA", "e"))


async def test_an_issuer_that_does_not_answer_is_no_fault_of_the_token(issuer, url_verifier, monkeypatch):
    monkeypatch.setattr("serve_app.jwks.FETCH_TIMEOUT_S", 0.05)
    issuer.delay_s = 0.3
    with pytest.raises(OrganismUnreachable):
        await url_verifier.verify(signed(ED_KEY, "EdDSA", "e"))


async def test_a_verified_token_is_remembered_until_it_expires(verifier, clock):
    token = signed(exp=NOW_S + 10)
    assert verifier.cached(token) is None
    principal = await verifier.verify(token)
    assert verifier.cached(token) is principal
    clock.now_s += 40
    assert verifier.cached(token) is None
    assert "expired" in await refusal(verifier, token)


async def test_the_memory_of_tokens_is_bounded(verifier, monkeypatch):
    monkeypatch.setattr(jwt_tokens, "MAX_CACHED", 3)
    tokens = [signed(sub=str(number)) for number in range(5)]
    for token in tokens:
        await verifier.verify(token)
        verifier.cached(tokens[0])
    assert [verifier.cached(token) is not None for token in tokens] == [True, False, False, True, True]


async def test_a_remembered_token_costs_microseconds(verifier):
    token = signed()
    await verifier.verify(token)

    def took_s() -> float:
        began = time.perf_counter()
        for _ in range(1000):
            verifier.cached(token)
        return (time.perf_counter() - began) / 1000

    assert min(took_s() for _ in range(10)) < 20e-6


async def test_a_long_token_is_not_read(verifier, monkeypatch):
    token = signed(filler="x" * MAX_TOKEN_CHARS)
    monkeypatch.setattr(jwt, "get_unverified_header", None)
    assert await refusal(verifier, token) == NOT_VERIFIED


@pytest.mark.parametrize(
    ("section", "secret", "text"),
    [
        (JwtSection(secret_env="S"), None, "the variable S is not set"),
        (JwtSection(secret_env="S"), "short", "the variable S has fewer than 32 bytes"),
        (
            JwtSection.model_construct(),
            None,
            "nothing to verify tokens with",
        ),
        (JwtSection(jwks_url="http://issuer.example/keys"), None, "keys that anyone on the way can change"),
        (JwtSection(jwks_url="file:///etc/keys"), None, "keys that anyone on the way can change"),
        (JwtSection(jwks_url="http://localhost.example/keys"), None, "keys that anyone on the way can change"),
    ],
)
def test_what_is_not_safe_does_not_start(section, secret, text):
    with pytest.raises(ConfigError, match=text):
        TokenVerifier(section, secret, HERE)


def test_an_algorithm_fits_its_keys():
    section = JwtSection.model_construct(**{**JwtSection(jwks_file="k").__dict__, "algorithms": ("HS256",)})
    with pytest.raises(ConfigError, match="none of them fits the keys"):
        TokenVerifier(section, None, HERE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["alg", "kid", "typ", "crit", "b64", "exp", "sub", "role", "nbf", "iat", "iss", "aud", "agents"]
)
OBJECTS = st.dictionaries(NAMES | st.text(), JSON)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@given(st.text() | st.builds(lambda *parts: ".".join(map(encoded, parts)), OBJECTS, OBJECTS, JSON))
def test_garbage_is_refused_and_nothing_else(token):
    verifier = TokenVerifier(JwtSection(secret_env="S"), SECRET, HERE)
    assert verifier.cached(token) is None
    with pytest.raises(Unauthenticated):
        asyncio.run(verifier.verify(token))


@given(header=OBJECTS, body=OBJECTS | JSON)
def test_a_signed_token_of_any_form_is_refused_or_tells_who_asks(header, body):
    verifier = TokenVerifier(JwtSection(secret_env="S"), SECRET, HERE)
    header = {name: value for name, value in header.items() if name not in ("alg", "b64", "kid", "typ", "crit")}
    token = jwt.api_jws.encode(json.dumps(body).encode(), SECRET, "HS256", header)
    try:
        assert asyncio.run(verifier.verify(token)).id.startswith("user:")
    except Unauthenticated:
        assert verifier.cached(token) is None
