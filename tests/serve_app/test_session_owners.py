"""Whose sessions are, over REST: others find nothing, admins all, and the audit log says who made and deleted them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from access_control import Guarded, guarded
from conftest import until

from organism.access.principal import Bounds, Role
from organism.sessions.records import NewSession


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path, takes_tokens=False) as it, it.sessions:
        await it.refresh()
        yield it


async def made(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/sessions/create", json={"name": "mine"})
    assert answer.status_code == 201
    return answer.json()["sessionId"]


async def test_lists_have_the_own_and_for_an_admin_all_with_their_owners(it):
    async with it.client("operator") as owner, it.client("other") as other, it.client("admin") as admin:
        mine, theirs, admins = await made(owner), await made(other), await made(admin)
        nobodys = (await it.sessions.create(NewSession())).id
        for client, known in ((owner, {mine}), (other, {theirs}), (admin, {mine, theirs, admins, nobodys})):
            body = (await client.get("/api/sessions")).json()
            assert ({each["id"] for each in body["sessions"]}, body["total"]) == (known, len(known))
        shown = {each["id"]: each.get("owner") for each in (await admin.get("/api/sessions")).json()["sessions"]}
        assert shown == {mine: "key:operator", theirs: "key:other", admins: "key:admin", nobodys: None}
        assert "owner" not in (await owner.get("/api/sessions")).json()["sessions"][0]
        details = await owner.get("/api/sessions/details", params={"sessionId": mine})
        assert "owner" not in details.json()["session"]


async def test_a_viewer_has_no_sessions_but_sees_what_models_there_are(it):
    async with it.client("viewer") as viewer:
        assert (await viewer.get("/api/sessions")).status_code == 403
        assert (await viewer.post("/api/sessions/create", json={})).status_code == 403
        assert (await viewer.get("/api/v1/models")).status_code == 200


async def test_a_key_bound_to_a_session_has_that_one(it):
    async with it.client("operator") as owner:
        named, other = await made(owner), await made(owner)
    await it.add("narrow", Role.ADMIN, Bounds(sessions=frozenset({named})))
    await it.refresh()
    async with it.client("narrow") as narrow:
        assert [each["id"] for each in (await narrow.get("/api/sessions")).json()["sessions"]] == [named]
        assert (await narrow.get("/api/sessions/details", params={"sessionId": other})).status_code == 404
        answer = await narrow.get("/api/sessions/details", params={"sessionId": named})
        assert "owner" not in answer.json()["session"]
        refused = await narrow.post("/api/sessions/create", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_oneshot_belongs_to_who_asks(it):
    async with it.client("operator") as owner:
        answer = await owner.post("/api/v1/oneshot/query", json={"query": "hi"})
        session_id = answer.json()["sessionId"]
        streamed = await owner.post("/api/v1/oneshot/query/stream", json={"query": "hi"})
        assert streamed.status_code == 200
    owners = {id_: session.record.owner for id_, session in it.sessions.sessions_by_id.items()}
    assert (owners[session_id], set(owners.values()), len(owners)) == ("key:operator", {"key:operator"}, 2)


async def test_it_is_recorded_who_made_and_who_deleted_a_session(it):
    async with it.client("operator") as owner, it.client("other") as other:
        session_id = await made(owner)
        await other.post("/api/sessions/delete", json={"sessionId": session_id})
        await owner.post("/api/sessions/delete", json={"sessionId": session_id})
        oneshot = (await owner.post("/api/v1/oneshot/query", json={"query": "hi"})).json()["sessionId"]
        await owner.post("/api/v1/oneshot/query/stream", json={"query": "hi"})
    streamed = next(reversed(it.sessions.sessions_by_id))
    await until(lambda: len(it.storage.audit_rows) == 5)
    assert [(each.who, each.action, each.target, each.outcome) for each in it.storage.audit_rows] == [
        ("key:operator", "session.create", session_id, "ok"),
        ("key:other", "session.delete", session_id, "refused"),
        ("key:operator", "session.delete", session_id, "ok"),
        ("key:operator", "session.create", oneshot, "ok"),
        ("key:operator", "session.create", streamed, "ok"),
    ]
