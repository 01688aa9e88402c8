"""Keys and the audit log over REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_control import Guarded, guarded
from conftest import client_of, eventually
from fake_organism import FakeOrganism

from organism.access.audit import AuditFilter
from organism.access.desk import AccessDesk
from organism.config import PrincipalLimits
from organism.errors import StorageUnavailable
from organism.storage.access.memory import MemoryAccessStorage
from serve_app.app import build_app
from serve_app.auditor import LOGINS_AT_ONCE
from serve_app.auth import BROKEN_OFF

KEYS, AUDIT = "/api/v1/keys", "/api/v1/audit"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path) as it:
        yield it


async def test_a_key_is_shown_once_and_opens_at_once(it):
    wanted = {"name": "ci", "role": "operator", "bounds": {"agents": ["greeter"]}, "expires_at": "2100-01-01T00:00:00Z"}
    async with it.client("admin") as admin:
        made = await admin.post(KEYS, json=wanted)
        assert made.status_code == 201, made.text
        key = made.json()["key"]
        assert (made.json()["state"], made.json()["bounds"]["agents"]) == ("usable", ["greeter"])
        listed = await admin.get(KEYS)
        assert key not in listed.text
        assert not {"hash", "salt", "key"} & set(listed.json()["keys"][0])
    async with it.client() as client:
        me = (await client.get("/api/v1/me", headers={"x-api-key": key})).json()
        assert (me["id"], me["role"], me["expires_at"]) == ("key:ci", "operator", "2100-01-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "a b"}, "name"), ({"role": "root"}, "role"), ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"bounds": {"agent": []}}, "bounds.agent"), ({"extra": 1}, "extra"), ({"name": None}, "name"),
    ],
)  # fmt: skip
async def test_a_bad_key_is_refused_with_its_field(it, wrong, field):
    async with it.client("admin") as admin:
        refused = await admin.post(KEYS, json={"name": "ci", "role": "viewer", **wrong})
        assert refused.status_code == 422
        assert [each["path"] for each in refused.json()["error"]["details"]] == [field]


async def test_a_name_in_use_is_refused_and_free_once_revoked(it):
    async with it.client("admin") as admin:
        assert (await admin.post(KEYS, json={"name": "viewer", "role": "viewer"})).status_code == 409
        assert (await admin.delete(f"{KEYS}/viewer")).json()["state"] == "revoked"
        assert (await admin.delete(f"{KEYS}/viewer")).status_code == 404
        assert (await admin.post(KEYS, json={"name": "viewer", "role": "viewer"})).status_code == 201
    async with it.client("viewer") as old:
        assert (await old.get("/api/v1/me")).status_code == 401


async def test_verbs_are_recorded_with_who_what_where_and_how_it_ended(it):
    async with it.client("operator") as operator:
        await operator.post("/api/v1/agents/greeter/pause")
        await operator.post("/api/v1/agents/nobody/pause")
        await operator.post("/api/v1/organism/reload")
    async with it.client("admin") as admin:
        records = (await admin.get(AUDIT)).json()["records"]
        assert [(each["who"], each["action"], each["target"], each["outcome"]) for each in records] == [
            ("key:operator", "reload", "", "refused"),
            ("key:operator", "pause", "nobody", "refused"),
            ("key:operator", "pause", "greeter", "ok"),
        ]
        assert records[0]["address"] == "127.0.0.1"
        only = (await admin.get(AUDIT, params={"outcome": "ok", "who": "key:operator", "limit": 1})).json()
        assert only["count"] == 1
        page = (await admin.get(AUDIT, params={"before": records[0]["seq"], "limit": 1})).json()["records"]
        assert [each["seq"] for each in page] == [records[1]["seq"]]
        newer = (await admin.get(AUDIT, params={"after": records[2]["seq"]})).json()["records"]
        assert newer == records[:2]
        assert (await admin.get(AUDIT, params={"who": ""})).status_code == 422


async def test_failed_logins_injects_and_changes_of_keys_are_recorded(it):
    async with it.client() as stranger, it.client("admin") as admin:
        await stranger.get("/api/v1/agents", headers={"x-api-key": "org_aaaaaaaaaa_" + 43 * "b"})
        body = {"to": "greeter", "payload": {"name": "Dan"}}
        assert (await admin.post("/api/v1/inject", json=body)).status_code == 200
        await admin.post(KEYS, json={"name": "ci", "role": "viewer"})

        async def actions() -> set[tuple[str | None, str, str]]:
            records = (await admin.get(AUDIT)).json()["records"]
            return {(each["who"], each["action"], each["outcome"]) for each in records}

        wanted = {(None, "login", "refused"), ("key:admin", "inject", "ok"), ("key:admin", "key.add", "ok")}
        await eventually(actions, wanted)
        assert 43 * "b" not in (await admin.get(AUDIT)).text


async def test_whoever_has_no_key_cannot_fill_the_audit_log(it):
    async with it.client() as stranger:
        for path in ("organism/stop", "inject", "agents/greeter/pause"):
            for _ in range(2 * LOGINS_AT_ONCE):
                assert (await stranger.post(f"/api/v1/{path}")).status_code == 401

    async def actions() -> set[str]:
        return {record.action for record in await it.desk.audit_page(AuditFilter(), 1000)}

    await eventually(actions, {"login"})
    assert len(await it.desk.audit_page(AuditFilter(), 1000)) < 4 * LOGINS_AT_ONCE


async def hang(*_: object) -> Any:
    await asyncio.Event().wait()


async def fail(*_: object) -> Any:
    raise RuntimeError("a bug")


async def give_up_soon(it: Guarded) -> None:
    it.organism.config = it.organism.config | {"api": {"request_timeout_s": 0.05}}
    await it.app.state.replica.feed.refresh()


def outcomes_of(it: Guarded, action: str) -> Any:
    """Asks for what is recorded of the verb."""

    async def ask() -> list[tuple[str, str, str]]:
        found = await it.desk.audit_page(AuditFilter(action=action), 10)
        return [(each.who, each.outcome, each.detail) for each in found]

    return ask


@pytest.mark.parametrize(("end", "status"), [(hang, 503), (fail, 500)])
async def test_a_verb_that_is_broken_off_has_one_record_which_says_so(it, monkeypatch, end, status):
    """By the timeout of requests, or by a bug: it may have taken effect before."""
    monkeypatch.setattr(it.organism, "pause", end)
    await give_up_soon(it)
    async with it.client("operator") as operator:
        assert (await operator.post("/api/v1/agents/greeter/pause")).status_code == status
        await eventually(outcomes_of(it, "pause"), [("key:operator", "failed", BROKEN_OFF)])
        assert (await operator.post("/api/v1/agents/nobody/resume")).status_code == 404
    assert len(await outcomes_of(it, "pause")()) == 1


async def test_an_inject_that_is_broken_off_has_one_record_which_says_so(it):
    it.organism.gate.clear()
    await give_up_soon(it)
    async with it.client("operator") as operator:
        body = {"to": "greeter", "payload": {"name": "Dan"}}
        assert (await operator.post("/api/v1/inject", json=body)).status_code == 503
        await eventually(outcomes_of(it, "inject"), [("key:operator", "failed", BROKEN_OFF)])
        it.organism.gate.set()
        assert (await operator.post("/api/v1/agents/greeter/pause")).status_code == 200
    assert len(await outcomes_of(it, "inject")()) == 1


async def test_a_verb_whose_record_waits_when_time_is_up_has_no_second_one(it, monkeypatch):
    append, is_back = it.storage.append_audit, asyncio.Event()

    async def append_later(records: list[Any]) -> None:
        await is_back.wait()
        await append(records)

    monkeypatch.setattr(it.storage, "append_audit", append_later)
    await give_up_soon(it)
    async with it.client("operator") as operator:
        assert (await operator.post("/api/v1/agents/greeter/pause")).status_code == 503
    is_back.set()
    await eventually(outcomes_of(it, "pause"), [("key:operator", "ok", "")])


async def test_a_wrong_method_is_no_verb(it):
    async with it.client("operator") as operator:
        assert (await operator.put("/api/v1/agents/greeter/pause")).status_code == 405
        assert (await operator.post("/api/v1/agents/greeter/resume")).status_code == 200
    assert [each.action for each in await it.desk.audit_page(AuditFilter(), 10)] == ["resume"]


async def test_without_authentication_injects_that_are_broken_off_are_not_recorded_and_other_verbs_are(monkeypatch):
    desk, organism = AccessDesk(MemoryAccessStorage(), PrincipalLimits), FakeOrganism()
    app = build_app(organism, access_service=desk)
    monkeypatch.setattr(organism, "submit", fail)
    monkeypatch.setattr(organism, "pause", fail)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://organism") as client,
    ):
        body = {"to": "greeter", "payload": {"name": "Dan"}}
        assert (await client.post("/api/v1/inject", json=body)).status_code == 500
        assert (await client.post("/api/v1/agents/greeter/pause")).status_code == 500
    found = await desk.audit_page(AuditFilter(), 10)
    assert [(each.who, each.action, each.detail) for each in found] == [("local", "pause", BROKEN_OFF)]


async def test_a_verb_stands_where_its_record_cannot_be_written_yet(it, monkeypatch):
    async def refuse(_: object) -> None:
        raise StorageUnavailable("disk full")

    append = it.storage.append_audit
    monkeypatch.setattr(it.storage, "append_audit", refuse)
    async with it.client("admin") as admin:
        assert (await admin.post("/api/v1/agents/greeter/pause")).status_code == 200
        monkeypatch.setattr(it.storage, "append_audit", append)

        async def count() -> int:
            return (await admin.get(AUDIT)).json()["count"]

        await eventually(count, 1)


async def test_without_access_control_there_are_no_keys():
    async with client_of(FakeOrganism()) as client:
        assert (await client.get(KEYS)).status_code == 503
        assert (await client.get("/api/v1/me")).json() == {
            "id": "local", "role": "admin", "bounds": None, "expires_at": None,
        }  # fmt: skip
