"""What the Python client shows of itself, and what it makes of refusals."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from session_server import Fault, SessionServer, serving_sessions
from starlette.types import ASGIApp, Receive, Scope, Send

from organism.client import (
    AsyncClient,
    CertificateRefused,
    Client,
    Forbidden,
    LimitReached,
    RateLimited,
    Unauthenticated,
)
from organism.client.credentials import Credentials, credentials_of
from organism.sessions.events import AgentRunEnd

KEY = "org_abcdefghij_secret"


class Listening:
    """Notes what was sent as `authorization`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.heard: list[str | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            value = dict(scope["headers"]).get(b"authorization")
            self.heard.append(None if value is None else value.decode())
        await self._app(scope, receive, send)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORGANISM_API_KEY", "ORGANISM_CA_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[SessionServer]:
    with serving_sessions() as server:
        yield server


@pytest.fixture
def listening(server: SessionServer) -> Listening:
    assert server.app is not None
    server.app = Listening(server.app)
    return server.app


async def use(client: AsyncClient) -> None:
    """Requests and streams of sessions."""
    async with client:
        session = await client.create()
        events = [event async for event in session.stream("hi")]
        assert isinstance(events[-1], AgentRunEnd)
        async for _ in session.watch(0):
            break


async def test_the_key_is_sent_with_requests_and_streams(server: SessionServer, listening: Listening) -> None:
    await use(AsyncClient(server.url, api_key=KEY))
    assert len(listening.heard) >= 4
    assert set(listening.heard) == {f"Bearer {KEY}"}


def test_the_blocking_client_sends_it_too(server: SessionServer, listening: Listening) -> None:
    with Client(server.url, api_key=KEY) as client:
        client.models()
    assert listening.heard == [f"Bearer {KEY}"]


def test_the_environment_is_the_default(
    server: SessionServer, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORGANISM_API_KEY", "of-the-environment")
    for given in (None, KEY):
        with Client(server.url, api_key=given) as client:
            client.models()
    assert listening.heard == ["Bearer of-the-environment", f"Bearer {KEY}"]


def test_headers_that_were_given_count_more(server: SessionServer, listening: Listening) -> None:
    with Client(server.url, api_key=KEY, headers={"Authorization": "Basic of-a-proxy"}) as client:
        client.models()
    assert listening.heard == ["Basic of-a-proxy"]


def test_without_a_key_none_is_sent(server: SessionServer, listening: Listening) -> None:
    with Client(server.url) as client:
        client.models()
    assert listening.heard == [None]


async def test_a_redirect_is_not_followed_with_the_key(server: SessionServer, listening: Listening) -> None:
    server.faults = [Fault("models", status=307, headers={"location": f"{server.url}/api/v1/models"})]
    with Client(server.url, api_key=KEY) as client, pytest.raises(Exception, match="so it is in this test"):
        client.models()
    assert listening.heard == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", Unauthenticated),
        (403, "forbidden", Forbidden),
        (429, "rate_limited", RateLimited),
        (429, "too_many_runs", LimitReached),
    ],
)
def test_each_refusal_has_its_class(server: SessionServer, status: int, code: str, kind: type[Exception]) -> None:
    server.faults = [Fault("models", status=status, headers={"retry-after": "3"}, body={"error": "no", "code": code})]
    with Client(server.url) as client, pytest.raises(kind) as raised:
        client.models()
    assert type(raised.value) is kind
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), str(copy), copy.retry_after_s) == (kind, str(raised.value), 3)


def test_who_is_not_known_learns_where_the_key_goes(server: SessionServer) -> None:
    server.faults = [Fault("models", status=401, body={"error": "authentication is needed", "code": "unauthenticated"})]
    with Client(server.url) as client, pytest.raises(Unauthenticated, match="ORGANISM_API_KEY"):
        client.models()


async def test_a_stream_that_is_limited_is_made_again(server: SessionServer) -> None:
    async with AsyncClient(server.url, reconnect_timeout_s=10) as client:
        session = await client.create()
        server.faults = [
            Fault("query/stream", cut_after=1),
            Fault(
                "events/stream", status=429, headers={"retry-after": "0"}, body={"error": "", "code": "rate_limited"}
            ),
        ]
        events = [event async for event in session.stream("hi")]
    assert isinstance(events[-1], AgentRunEnd)
    assert server.faults == []


async def test_a_stream_whose_key_is_revoked_ends(server: SessionServer) -> None:
    async with AsyncClient(server.url) as client:
        session = await client.create()
        server.faults = [Fault("events/stream", status=401, body={"error": "revoked", "code": "unauthenticated"})]
        with pytest.raises(Unauthenticated):
            _ = [event async for event in session.watch(0)]


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "a\r\nx-evil: 1", "schlüssel", "a\0b"])
def test_what_is_no_key_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ValueError, match="the API key") as raised:
        Client("http://127.0.0.1:9", api_key=key)
    assert not key or key not in str(raised.value)


def test_a_key_is_not_in_what_is_printed() -> None:
    assert KEY not in repr(Credentials(KEY))


def test_of_the_environment_empty_is_none() -> None:
    assert credentials_of({"ORGANISM_API_KEY": "", "ORGANISM_CA_FILE": ""}) == Credentials()
    assert credentials_of({"ORGANISM_API_KEY": " k\n", "ORGANISM_CA_FILE": "ca"}) == Credentials("k", Path("ca"))


def test_a_ca_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"none\.pem cannot be used"):
        Client("https://127.0.0.1:9", ca_file="none.pem")


def test_a_refused_certificate_survives_pickling() -> None:
    error = CertificateRefused("https://x", "self-signed")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
