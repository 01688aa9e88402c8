"""What a replica lets through while it knows little, or its storage has lost what it knew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from access_control import Guarded, guarded
from conftest import eventually, until
from fake_librarian import FakeLibrarian
from fake_organism import FakeOrganism
from fake_sessions import FakeSessions
from fastapi import FastAPI
from starlette.types import Scope

from organism.access.desk import AccessDesk
from organism.access.keys import NewKey
from organism.access.principal import LOCAL, Role
from organism.config import PrincipalLimits
from organism.errors import OrganismUnreachable
from organism.storage.access.memory import MemoryAccessStorage
from serve_app import app as app_module
from serve_app.app import build_app
from serve_app.gate import Place
from serve_app.login import identified

ME = "/api/v1/me"
KEYS = "/api/v1/keys"
NEW_KEY = {"name": "mine", "role": "admin"}

OPEN = ["/health", "/api/v1/health", "/openapi.json"]


async def lose_keys(it: Guarded) -> None:
    """As a storage that was restored from before them, when a pump opens it anew."""
    it.storage.key_rows.clear()
    lost = AccessDesk(it.storage, PrincipalLimits)
    it.app.state.replica.access.ref = lost
    await it.refresh()
    assert await lost.keys() == []


@pytest.mark.parametrize("bind_host", ["127.0.0.1", "0.0.0.0"])
async def test_lost_keys_do_not_open_the_api_to_everybody(tmp_path, bind_host):
    async with guarded(tmp_path, takes_tokens=False, bind_host=bind_host) as it:
        await lose_keys(it)
        async with it.client() as nobody, it.client("admin") as admin:
            assert (await nobody.get(ME)).status_code == 401
            assert (await nobody.post(KEYS, json=NEW_KEY)).status_code == 401
            assert (await admin.get(ME)).status_code == 401


@asynccontextmanager
async def keyless(
    folder: Path, organism: FakeOrganism, bind_host: str, desk: AccessDesk | None = None
) -> AsyncIterator[FastAPI]:
    """A replica whose storage has no key, unless `desk` does."""
    desk = desk or AccessDesk(MemoryAccessStorage(), PrincipalLimits)
    place = Place(bind_host)
    app = build_app(organism, lambda: FakeSessions(folder), FakeLibrarian(), access_service=desk, place=place)
    async with app.router.lifespan_context(app):
        await app.state.replica.access.wait_informed(10)
        yield app


def client_to(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


@pytest.mark.parametrize("bind_host", ["0.0.0.0", "::", "", "192.0.2.7", "example.org"])
async def test_where_others_reach_the_api_nobody_gets_in_without_keys_either(tmp_path, bind_host):
    async with keyless(tmp_path, FakeOrganism(), bind_host) as app, client_to(app) as client:
        assert (await client.get(ME)).status_code == 401
        assert (await client.post(KEYS, json=NEW_KEY)).status_code == 401


@pytest.fixture
def silent(monkeypatch) -> FakeOrganism:
    """An organism that does not answer while replicas start; they do not wait for it for long."""
    monkeypatch.setattr(app_module, "FIRST_SNAPSHOT_S", 0.1)
    organism = FakeOrganism()
    organism.down = True
    return organism


@pytest.mark.parametrize(("config", "status"), [({"auth": {"required": True}}, 401), ({}, 200)])
async def test_who_is_let_in_is_not_known_before_the_configuration_is(tmp_path, silent, config, status):
    silent.config |= config
    async with keyless(tmp_path, silent, "127.0.0.1") as app, client_to(app) as client:
        for answer in (
            await client.get(ME),
            await client.get(KEYS),
            await client.post(KEYS, json=NEW_KEY),
            await client.post("/api/v1/sessions/create", json={}),
            await client.get(ME, headers={"authorization": "Bearer nonsense"}),
        ):
            assert answer.status_code == 503
            assert "does not know yet" in answer.text
        silent.down = False
        await eventually(lambda: status_of(client, ME), status)


async def test_health_and_readiness_are_told_to_everybody_all_the_time(tmp_path, silent):
    silent.config |= {"auth": {"required": True}}
    async with keyless(tmp_path, silent, "127.0.0.1") as app, client_to(app) as client:
        assert [await status_of(client, path) for path in OPEN] == [200, 200, 200]
        assert await status_of(client, "/ready") == 503
        silent.down = False
        await eventually(lambda: status_of(client, "/ready"), 200)
        assert [await status_of(client, path) for path in OPEN] == [200, 200, 200]


async def test_a_key_opens_while_the_configuration_is_not_known(tmp_path, silent):
    desk = AccessDesk(MemoryAccessStorage(), PrincipalLimits)
    key = (await desk.add_key(NewKey("ada", Role.ADMIN))).text
    async with (
        keyless(tmp_path, silent, "127.0.0.1", desk) as app,
        client_to(app) as nobody,
        client_to(app, **{"x-api-key": key}) as ada,
    ):
        assert await status_of(nobody, ME) == 401
        assert await status_of(ada, ME) == 200


async def test_sockets_and_socket_io_let_nobody_in_before_the_configuration_is_known(tmp_path, silent):
    async with keyless(tmp_path, silent, "127.0.0.1") as app:
        replica, scope = app.state.replica, scope_of(app)
        for text in (None, "nonsense"):
            with pytest.raises(OrganismUnreachable, match="does not know yet"):
                await identified(scope, text, replica)
        silent.down = False
        await until(lambda: replica.live.known)
        assert await identified(scope, None, replica) is LOCAL


async def test_without_access_control_there_is_nothing_to_wait_for(silent):
    app = build_app(silent, place=Place("127.0.0.1"))
    async with app.router.lifespan_context(app), client_to(app) as client:
        assert (await client.get(ME)).json()["id"] == "local"


async def status_of(client: httpx.AsyncClient, path: str) -> int:
    return (await client.get(path)).status_code


def scope_of(app: FastAPI) -> Scope:
    return {"type": "websocket", "path": "/ws", "headers": [], "client": ("127.0.0.1", 5), "app": app}
