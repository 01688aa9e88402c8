"""What every request passes first: Host, Origin, credentials, rates; and what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from access_control import HOST, Guarded, guarded, token
from fake_organism import FakeOrganism

from organism.access.principal import Role
from organism.config import PrincipalLimits
from serve_app.app import build_app
from serve_app.gate import Place

AGENTS = "/api/v1/agents"
PAUSE = "/api/v1/agents/greeter/pause"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path) as it:
        yield it


@asynccontextmanager
async def open_client(place: Place, host: str = "127.0.0.1:8000") -> AsyncIterator[httpx.AsyncClient]:
    """Of an application without authentication."""
    app = build_app(FakeOrganism(), place=place)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client,
    ):
        yield client


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.8.9.1:1", "[::1]:8000", "LOCALHOST"])
async def test_loopback_has_many_names(host):
    async with open_client(Place("127.0.0.1")) as client:
        assert (await client.get(AGENTS, headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8000", "192.168.1.5:8000", "", "127.0.0.1.x"])
async def test_a_name_that_is_made_to_point_here_is_refused(host):
    async with open_client(Place("127.0.0.1")) as client:
        refused = await client.get(AGENTS, headers={"host": host})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        assert "api.allowed_hosts" in refused.json()["error"]["message"]


async def test_names_can_be_allowed():
    async with open_client(Place("127.0.0.1", allowed_hosts=("a.example", "*.b.example"))) as client:
        for host, status in (("a.example", 200), ("A.example:80", 200), ("x.b.example", 200), ("b.example", 403)):
            assert (await client.get(AGENTS, headers={"host": host})).status_code == status, host


async def test_with_authentication_any_name_will_do_unless_some_are_listed(it):
    async with it.client("viewer") as client:
        assert (await client.get(AGENTS, headers={"host": "any.example"})).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "http://[x]", "http://[::1"])
async def test_an_origin_that_is_none_is_refused_over_every_protocol(origin):
    async with open_client(Place("127.0.0.1")) as client:
        assert (await client.post(PAUSE, headers={"origin": origin})).status_code == 403
        polled = await client.get("/socket.io/?EIO=4&transport=polling", headers={"origin": origin})
        assert polled.status_code == 400


async def test_where_no_name_was_called_no_page_is_of_this_server(it):
    async with it.client("operator") as operator:
        refused = await operator.post(PAUSE, headers={"host": "", "origin": "null"})
        assert refused.status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:8000"])
async def test_a_page_elsewhere_can_change_nothing(origin):
    async with open_client(Place("127.0.0.1")) as client:
        refused = await client.post(PAUSE, headers={"origin": origin})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        read = await client.get(AGENTS, headers={"origin": origin})
        assert "access-control-allow-origin" not in read.headers  # so that the browser shows the page nothing


async def test_a_page_from_here_may_and_so_may_who_is_no_browser():
    async with open_client(Place("127.0.0.1")) as client:
        assert (await client.post(PAUSE, headers={"origin": "http://127.0.0.1:8000"})).status_code == 200
        assert (await client.post(PAUSE)).status_code == 200


async def test_pages_of_the_list_may_and_are_told_so():
    async with open_client(Place("127.0.0.1", cors_origins=("https://app.example",))) as client:
        asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
        preflight = await client.options(PAUSE, headers=asked | {"access-control-request-headers": "x-api-key"})
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-credentials" not in preflight.headers
        answer = await client.post(PAUSE, headers={"origin": "https://app.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
        other = await client.options(PAUSE, headers=asked | {"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_every_answer_has_the_headers_of_security(it):
    for caller, path in (("viewer", AGENTS), (None, AGENTS), (None, "/health"), (None, "/docs"), (None, "/nowhere")):
        async with it.client(caller) as client:
            answer = await client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "strict-transport-security" not in answer.headers


async def test_with_tls_browsers_are_told_to_stay_with_it():
    async with open_client(Place("127.0.0.1", has_tls=True)) as client:
        assert "max-age" in (await client.get(AGENTS)).headers["strict-transport-security"]


async def test_a_key_opens_in_either_header_and_never_in_the_url(it):
    key = it.keys["viewer"]
    async with it.client() as client:
        for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key} "}):
            assert (await client.get(AGENTS, headers=headers)).status_code == 200, headers
        for name in ("key", "token", "api_key", "access_token", "X-API-Key"):
            assert (await client.get(AGENTS, params={name: key})).status_code == 401


@pytest.mark.parametrize(
    "value", [b"", b" ", b"\xff\xfe", b"x" * 9000, b"org_", b"Bearer", b"org_aaaaaaaaaa_" + 43 * b"a", b"a.b.c"]
)
@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
async def test_no_credential_however_odd_does_anything_but_401(it, header, value):
    async with it.client() as client:
        answer = await client.get(AGENTS, headers={header: value if header == "x-api-key" else b"Bearer " + value})
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers


async def test_without_authentication_credentials_do_not_matter():
    async with open_client(Place("127.0.0.1")) as client:
        assert (await client.get(AGENTS, headers={"authorization": "Bearer nonsense"})).status_code == 200


async def test_with_the_first_key_authentication_begins(tmp_path):
    async with open_client(Place("127.0.0.1")) as client:
        assert (await client.get("/api/v1/me")).json()["id"] == "local"
    async with guarded(tmp_path, takes_tokens=False) as it, it.client() as client:
        assert (await client.get("/api/v1/me")).status_code == 401


async def test_a_revoked_key_opens_nothing_any_more(it):
    async with it.client("operator") as client:
        assert (await client.get(AGENTS)).status_code == 200
        await it.desk.revoke_key("operator")
        await it.refresh()
        assert (await client.get(AGENTS)).status_code == 401


async def test_a_bearer_token_opens(it):
    async with it.client() as client:
        answer = await client.get("/api/v1/me", headers={"authorization": f"Bearer {token('operator')}"})
        assert (answer.json()["id"], answer.json()["role"]) == ("user:alice", "operator")


async def test_who_sends_too_much_is_told_how_long_to_wait(tmp_path):
    limits = PrincipalLimits(requests_per_s=1, request_burst=3)
    async with guarded(tmp_path, limits) as it, it.client("viewer") as client, it.client("operator") as other:
        answers = [await client.get(AGENTS) for _ in range(4)]
        assert [each.status_code for each in answers] == [200, 200, 200, 429]
        assert [each.headers.get("ratelimit-remaining") for each in answers] == ["2", "1", "0", "0"]
        assert [each.headers["ratelimit-limit"] for each in answers] == ["3"] * 4
        assert int(answers[3].headers["ratelimit-reset"]) == 3
        assert int(answers[3].headers["retry-after"]) >= 1
        assert answers[3].json()["error"]["code"] == "rate_limited"
        assert (await other.get(AGENTS)).status_code == 200


async def test_a_bound_key_reaches_nothing_but_what_it_names(it):
    from organism.access.principal import Bounds

    await it.add("bound", Role.ADMIN, Bounds(agents=frozenset({"greeter"})))
    await it.refresh()
    async with it.client("bound") as client:
        assert [each["name"] for each in (await client.get(AGENTS)).json()["agents"]] == ["greeter"]
        statuses = {
            path: (await client.get(f"/api/v1/{path}")).status_code
            for path in ("agents/greeter", "agents/shouter", "organism/config", "keys", "audit", "librarian/libraries")
        }
        assert statuses == {
            "agents/greeter": 200, "agents/shouter": 404, "organism/config": 403, "keys": 403, "audit": 403,
            "librarian/libraries": 200,
        }  # fmt: skip
        assert (await client.get("/api/v1/librarian/libraries")).json()["total"] == 0
        to_other = {"to": "shouter", "payload": {}}
        assert (await client.post("/api/v1/inject", json=to_other)).status_code == 404
        assert (await client.post("/api/sessions/create", json={})).status_code == 403


async def test_the_host_of_the_tests_is_no_loopback_name():
    async with open_client(Place("127.0.0.1"), HOST) as client:
        assert (await client.get(AGENTS)).status_code == 403


async def test_an_internal_error_has_the_headers_of_security_too(it, monkeypatch):
    monkeypatch.setattr(it.app.state.replica.live, "agents", None)
    async with it.client("viewer") as client:
        answer = await client.get(AGENTS)
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
