"""Tokens a day of those who send to agents: who pays, and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_control import Guarded, guarded
from conftest import client_of, eventually
from fake_organism import NOW_MS, FakeOrganism
from test_stream_access import place_of

from organism.access.principal import LOCAL, Principal, Role
from organism.config import AuthSection, PrincipalLimits
from organism.errors import OrganismUnreachable, StorageUnavailable, TokensSpent
from organism.messages import DeadLetter
from serve_app import token_checks
from serve_app.live import Live
from serve_app.token_checks import MAX_REMEMBERED, REMEMBERED_S, TokenChecks

API = "/api/v1"
DAN = {"to": "greeter", "payload": {"name": "Dan"}}
DAY_S = 24 * 60 * 60
LIMIT = 100


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    limits = PrincipalLimits(tokens_per_day=LIMIT)
    async with guarded(tmp_path, limits, takes_tokens=False, bind_host="127.0.0.1") as it:
        yield it


async def inject_xml(client: httpx.AsyncClient) -> httpx.Response:
    xml = {"content-type": "application/xml"}
    body = "<Greeting><name>Dan</name></Greeting>"
    return await client.post(f"{API}/inject", params={"to": "greeter"}, content=body, headers=xml)


def letter_in(organism: FakeOrganism) -> str:
    """The id of a dead letter."""
    message = organism.append("t1", "console", "greeter", b"{}")
    organism.letters.append(DeadLetter(message, "boom", 1, NOW_MS))
    return message.id


def owners(organism: FakeOrganism) -> list[str | None]:
    return [inject.owner for batch in organism.submitted for inject in batch]


async def test_who_sends_to_agents_pays(it):
    async with it.client("operator") as client, it.client("other") as other:
        assert (await client.post(f"{API}/inject", json=DAN)).status_code == 200
        assert (await inject_xml(other)).status_code == 200
        assert (await other.post(f"{API}/dead-letters/{letter_in(it.organism)}/requeue")).status_code == 200
    async with place_of(it) as place, place.socket("admin") as socket:
        assert (await socket.ask(cmd="inject", **DAN))["event"] == "ack"
        assert (await socket.ask(cmd="requeue", message_id=letter_in(it.organism)))["event"] == "ack"
    assert owners(it.organism) == ["key:operator", "key:other", "key:admin"]
    assert it.organism.requeuers == ["key:other", "key:admin"]


async def test_nobody_pays_where_there_is_no_authentication():
    organism = FakeOrganism(auth={"limits": {"tokens_per_day": 1}})
    async with client_of(organism) as client:
        assert (await client.post(f"{API}/inject", json=DAN)).status_code == 200
        assert (await client.post(f"{API}/dead-letters/{letter_in(organism)}/requeue")).status_code == 200
    assert (owners(organism), organism.requeuers) == ([None], [None])


async def test_who_has_used_up_his_tokens_sends_nothing_more_over_rest(it):
    await it.desk.count_tokens("key:operator", LIMIT)
    letter = letter_in(it.organism)
    async with it.client("operator") as client, it.client("other") as other:
        answers = [
            await client.post(f"{API}/inject", json=DAN),
            await inject_xml(client),
            await client.post(f"{API}/dead-letters/{letter}/requeue"),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "tokens_spent")
            assert 0 < int(answer.headers["retry-after"]) <= DAY_S
        assert (await client.get(f"{API}/agents")).status_code == 200
        assert owners(it.organism) == []
        assert (await other.post(f"{API}/inject", json=DAN)).status_code == 200
    assert it.organism.requeuers == []


async def test_who_has_used_up_his_tokens_sends_nothing_more_over_a_websocket(it):
    await it.desk.count_tokens("key:operator", LIMIT)
    async with place_of(it) as place, place.socket("operator") as socket:
        refused = await socket.ask(cmd="inject", id=1, **DAN)
        assert (refused["event"], refused["id"], refused["code"]) == ("error", 1, "tokens_spent")
        refused = await socket.ask(cmd="requeue", message_id=letter_in(it.organism))
        assert refused["code"] == "tokens_spent"
        assert (await socket.ask(cmd="ping"))["event"] == "ack"
    assert owners(it.organism) == []


async def test_a_refused_inject_is_recorded_as_such(it):
    await it.desk.count_tokens("key:operator", LIMIT)
    async with it.client("operator") as client, it.client("admin") as admin:
        await client.post(f"{API}/inject", json=DAN)

        async def recorded() -> list[tuple[str, str, str]]:
            page = (await admin.get(f"{API}/audit", params={"action": "inject"})).json()
            return [(each["who"], each["target"], each["outcome"]) for each in page["records"]]

        await eventually(recorded, [("key:operator", "greeter", "refused")])


class Till:
    """Implements what TokenChecks uses of AccessRef."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.hangs = False

    async def check_tokens(self, principal: str) -> None:
        self.asked.append(principal)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


def live_with(limit: int | None) -> Live:
    live = Live()
    live.auth = AuthSection(limits=PrincipalLimits(tokens_per_day=limit))
    return live


def principal(name: str) -> Principal:
    return Principal(f"key:{name}", Role.OPERATOR, credential=name)


class Checks:
    """now_s: the time of `checks`, which ask `till`."""

    def __init__(self, limit: int | None = 5) -> None:
        self.now_s, self.till, self.live = 50.0, Till(), live_with(limit)
        till: Any = self.till
        self.checks = TokenChecks(till, self.live, lambda: self.now_s)

    async def check(self, name: str = "ann") -> None:
        await self.checks.check(principal(name))


async def test_that_there_are_tokens_left_is_remembered_for_a_moment():
    it = Checks()
    for _ in range(1000):
        await it.check()
    await it.check("bob")
    assert it.till.asked == ["key:ann", "key:bob"]
    it.now_s += REMEMBERED_S
    await it.check()
    assert it.till.asked == ["key:ann", "key:bob", "key:ann"]


@pytest.mark.parametrize("error", [TokensSpent(5, 60.0), StorageUnavailable("the disk is full")], ids=repr)
async def test_that_there_are_none_is_asked_each_time(error):
    it = Checks()
    it.till.error = error
    for _ in range(3):
        with pytest.raises(type(error)):
            await it.check()
    it.till.error = None
    await it.check()
    assert len(it.till.asked) == 4


async def test_nothing_is_asked_where_no_limit_is_set_or_nobody_is_known():
    it = Checks(None)
    await it.check()
    it.live.auth = live_with(5).auth
    await it.checks.check(LOCAL)
    assert it.till.asked == []
    await it.check()
    assert it.till.asked == ["key:ann"]
    await TokenChecks(None, it.live).check(principal("ann"))


async def test_a_pump_that_does_not_answer_is_not_waited_for_without_end():
    it = Checks()
    it.live.api = it.live.api.model_copy(update={"request_timeout_s": 0.01})
    it.till.hangs = True
    with pytest.raises(OrganismUnreachable, match="no answer"):
        await it.check()


async def test_no_more_principals_are_remembered_than_memory_is_meant_for(monkeypatch):
    monkeypatch.setattr(token_checks, "MAX_REMEMBERED", 3)
    assert MAX_REMEMBERED > 3
    it = Checks()
    for number in range(10):
        await it.check(str(number))
    await it.check("9")
    await it.check("0")
    assert len(it.till.asked) == 11
    assert len(it.checks._passed_s) == 3
