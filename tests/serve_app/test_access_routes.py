"""Keys and the audit log over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from access_control import Guarded, guarded
from conftest import client_of, eventually
from fake_organism import FakeOrganism

from organism.access.audit import AuditFilter
from organism.errors import StorageUnavailable
from serve_app.auditor import LOGINS_PER_S

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
            for _ in range(2 * LOGINS_PER_S):
                assert (await stranger.post(f"/api/v1/{path}")).status_code == 401

    async def actions() -> set[str]:
        return {record.action for record in await it.desk.audit_page(AuditFilter(), 1000)}

    await eventually(actions, {"login"})
    assert len(await it.desk.audit_page(AuditFilter(), 1000)) < 4 * LOGINS_PER_S


async def test_a_verb_stands_where_its_record_cannot_be_written_yet(it, monkeypatch):
    async def fail(_: object) -> None:
        raise StorageUnavailable("disk full")

    append = it.storage.append_audit
    monkeypatch.setattr(it.storage, "append_audit", fail)
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
