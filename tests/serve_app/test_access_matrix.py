"""Every route against strangers and every role. A route without a row here fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from access_control import STRANGERS, Guarded, guarded
from access_samples import MARK, SESSIONS, add_samples, answer
from fastapi.routing import APIRoute, iter_route_contexts

from organism.access.principal import Role
from serve_app.app import build_app
from serve_app.auth import GuardedRoute

V1 = "/api/v1"

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


def test_every_route_has_a_row():
    assert set(routes()) == set(ROWS)


@pytest.mark.parametrize("caller", STRANGERS)
async def test_strangers_get_nothing_but_health(it, caller):
    samples = await add_samples(it)
    for row, role in ROWS.items():
        got = await answer(it, caller, row, samples)
        if role is None and caller == "nobody":
            assert got.status_code == 200, (row, got.text)
        else:
            assert got.status_code == 401, (row, got.text)
            assert got.headers["www-authenticate"].startswith("Bearer")
        assert MARK not in got.text


@pytest.mark.parametrize("caller", ["viewer", "operator", "admin", "token"])
async def test_a_role_opens_what_its_row_says_and_it_succeeds(it, caller):
    """Each row with samples of its own, as some delete what they are about."""
    has = Role.ADMIN if caller == "token" else Role.named(caller)
    for row, role in sorted(ROWS.items(), key=lambda each: each[0][1].endswith("/stop")):  # behind it nothing is taken
        samples = await add_samples(it, "user:alice" if caller == "token" else f"key:{caller}")
        got = await answer(it, caller, row, samples)
        if role is None or role <= has:
            assert 200 <= got.status_code < 300, (row, got.status_code, got.text)
        else:
            assert got.status_code == 403, (row, got.status_code, got.text)
            assert MARK not in got.text


async def test_a_token_without_a_role_opens_nothing(it):
    samples = await add_samples(it)
    for row, role in ROWS.items():
        assert role is None or (await answer(it, "token without a role", row, samples)).status_code in (401, 403), row
