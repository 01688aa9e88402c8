"""Every route against every kind of caller. A route without a row here fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_control import Guarded, guarded, token
from fastapi.routing import APIRoute, iter_route_contexts

from organism.access.principal import Role
from organism.sessions.records import NewSession
from serve_app.app import build_app
from serve_app.auth import GuardedRoute

V1, SESSIONS = "/api/v1", ("/api/sessions", "/api/v1/sessions")

OPEN = {("GET", path) for path in ("/health", "/ready", f"{V1}/health", f"{V1}/ready")}

ROWS: dict[tuple[str, str], Role | None] = {
    **dict.fromkeys(OPEN, None),
    **{
        ("GET", f"{V1}/{path}"): Role.VIEWER
        for path in (
            "agents", "agents/{name}", "agents/{name}/config", "agents/{name}/schema", "dead-letters", "messages",
            "organism", "organism/config", "threads", "threads/{thread_id}", "threads/{thread_id}/messages", "me",
            "models", "version", "librarian/jobs", "librarian/jobs/{job_id}", "librarian/libraries",
            "librarian/libraries/{library_id}", "librarian/libraries/{library_id}/chunks/{chunk_id:path}",
            "librarian/libraries/{library_id}/files/{path:path}", "librarian/libraries/{library_id}/symbols",
        )
    },
    **{
        ("POST", f"{V1}/librarian/{path}"): Role.VIEWER
        for path in (
            "search", "libraries/{library_id}/search", "libraries/{library_id}/query",
            "libraries/{library_id}/query/stream",
        )
    },
    **{
        ("POST", f"{V1}/{path}"): Role.OPERATOR
        for path in (
            "inject", "agents/{name}/pause", "agents/{name}/resume", "threads/{thread_id}/kill",
            "dead-letters/{message_id}/requeue", "oneshot/query", "oneshot/query/stream",
        )
    },
    **{
        (method, f"{base}{path}"): Role.OPERATOR
        for base in SESSIONS
        for method, path in (
            ("GET", ""), ("GET", "/"), ("POST", "/create"), ("GET", "/details"), ("POST", "/details"),
            ("GET", "/status"), ("POST", "/update"), ("POST", "/model"), ("POST", "/restore"), ("POST", "/delete"),
            ("POST", "/query"), ("POST", "/query/stream"), ("POST", "/abort"), ("POST", "/{session_id}/abort"),
            ("POST", "/generate-summary"),
            ("GET", "/events"), ("POST", "/events"), ("GET", "/events/stream"), ("GET", "/workspace/files"),
            ("GET", "/workspace/search"), ("POST", "/workspace/validate"),
        )
    },
    ("POST", f"{V1}/organism/reload"): Role.ADMIN,
    ("POST", f"{V1}/organism/stop"): Role.ADMIN,
    ("GET", f"{V1}/keys"): Role.ADMIN,
    ("POST", f"{V1}/keys"): Role.ADMIN,
    ("DELETE", f"{V1}/keys/{{name}}"): Role.ADMIN,
    ("GET", f"{V1}/audit"): Role.ADMIN,
    ("POST", f"{V1}/librarian/libraries"): Role.ADMIN,
    ("DELETE", f"{V1}/librarian/libraries/{{library_id}}"): Role.ADMIN,
    ("DELETE", f"{V1}/librarian/jobs/{{job_id}}"): Role.ADMIN,
}  # fmt: skip

STREAMS = {"/ws", "/ws/messages", "/socket.io"}
"""Their commands and events have tables of their own, and tests that walk these."""

FOR_ALL = {"/openapi.json", "/docs", "/docs/assets", "/redoc"}
"""What the API looks like is no secret."""

STRANGERS = ("nobody", "expired", "revoked", "wrong signature", "alg none", "expired token", "garbage")


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path) as it:
        yield it


def routes() -> Iterator[tuple[str, str]]:
    """Of the application itself, so that none is forgotten."""
    app = build_app(None)  # type: ignore[arg-type]  # nothing is connected to
    for route in iter_route_contexts(app.routes):
        kind = type(route.original_route)
        if issubclass(kind, APIRoute):
            assert kind is GuardedRoute, route.path
            yield from ((method, str(route.path)) for method in route.methods or ())
        elif route.path not in FOR_ALL:
            assert route.path in STREAMS, route


def headers_of(it: Guarded, caller: str) -> dict[str, str]:
    bearer = {
        "wrong signature": token(secret="another secret that is long enough for HS256, too"),
        "alg none": token(algorithm="none"),
        "expired token": token(expires_in_s=-3600),
        "token without a role": token(None),
        "token": token(),
    }
    if caller == "nobody":
        return {}
    if caller == "garbage":
        return {"x-api-key": "org_aaaaaaaaaa_" + 43 * "x"}
    if caller in bearer:
        return {"authorization": f"Bearer {bearer[caller]}"}
    return {"x-api-key": it.keys[caller]}


async def answer(it: Guarded, method: str, template: str, caller: str, **body: Any) -> httpx.Response:
    path = template
    for name in ("name", "thread_id", "message_id", "library_id", "job_id", "chunk_id:path", "path:path", "session_id"):
        path = path.replace(f"{{{name}}}", "revoked" if "/keys/" in path else "unknown")
    async with it.client() as client:
        return await client.request(method, path, headers=headers_of(it, caller), json=body or None)


def test_every_route_has_a_row():
    assert set(routes()) == set(ROWS)


@pytest.mark.parametrize("caller", STRANGERS)
async def test_strangers_get_nothing_but_health(it, caller):
    for (method, template), role in ROWS.items():
        got = await answer(it, method, template, caller)
        if role is None and caller == "nobody":
            assert got.status_code == 200, (template, got.text)
        else:
            assert got.status_code == 401, (method, template, got.text)
            assert got.headers["www-authenticate"].startswith("Bearer")
            assert "Hello" not in got.text


@pytest.mark.parametrize("caller", ["viewer", "operator", "admin", "token"])
async def test_a_role_opens_what_its_row_says(it, caller):
    has = Role.ADMIN if caller == "token" else Role.named(caller)
    for (method, template), role in ROWS.items():
        if template.endswith(("/organism/stop", "/organism/reload", "/events/stream")) and role and role <= has:
            continue  # they end what the next row needs, or never end: each has tests of its own
        got = await answer(it, method, template, caller)
        assert got.status_code != 401, (method, template, got.text)
        assert (got.status_code == 403) == (role is not None and role > has), (method, template, got.text)


async def test_a_token_without_a_role_opens_nothing(it):
    assert (await answer(it, "GET", f"{V1}/agents", "token without a role")).status_code in (401, 403)


OF_SESSION = (
    ("GET", "/details", {}), ("POST", "/details", {}), ("GET", "/status", {}), ("POST", "/update", {"name": "x"}),
    ("POST", "/restore", {}), ("POST", "/query", {"query": "hi"}), ("POST", "/query/stream", {"query": "hi"}),
    ("POST", "/abort", {}), ("GET", "/events", {}), ("POST", "/events", {}), ("GET", "/workspace/files", {}),
    ("GET", "/workspace/search", {}), ("POST", "/workspace/validate", {"paths": []}),
    ("POST", "/model", {"model": {"id": "small"}}),
    ("POST", "/generate-summary", {"messages": [{"role": "user", "content": "x"}]}), ("POST", "/delete", {}),
)  # fmt: skip


async def ask_of_session(it: Guarded, caller: str, session_id: str, row: tuple[str, str, dict[str, Any]]) -> int:
    method, path, body = row
    async with it.client(caller) as client:
        if method == "GET":
            got = await client.get(f"/api/sessions{path}", params={"sessionId": session_id})
        else:
            got = await client.post(f"/api/sessions{path}", json={"sessionId": session_id, **body})
        return got.status_code


@pytest.mark.parametrize("row", OF_SESSION, ids=lambda row: f"{row[0]} {row[1]}")
async def test_a_session_is_its_owners_and_an_admins(it, row):
    session = await it.sessions.create(NewSession(), "key:operator")
    assert await ask_of_session(it, "other", session.id, row) == 404
    assert await ask_of_session(it, "admin", session.id, row) < 300
    if row[1] != "/delete":
        assert await ask_of_session(it, "operator", session.id, row) < 300


async def test_lists_show_ones_own_sessions(it):
    mine = await it.sessions.create(NewSession(), "key:operator")
    await it.sessions.create(NewSession(), "key:other")
    await it.sessions.create(NewSession())
    seen = {}
    for caller in ("operator", "other", "admin"):
        async with it.client(caller) as client:
            seen[caller] = (await client.get("/api/sessions")).json()
    assert [each["id"] for each in seen["operator"]["sessions"]] == [mine.id]
    assert [seen[caller]["total"] for caller in ("operator", "other", "admin")] == [1, 1, 3]


async def test_what_is_made_belongs_to_who_made_it(it):
    async with it.client("operator") as client:
        session_id = (await client.post("/api/sessions/create", json={})).json()["sessionId"]
    assert await ask_of_session(it, "other", session_id, OF_SESSION[0]) == 404
    assert await ask_of_session(it, "operator", session_id, OF_SESSION[0]) == 200
