"""The Socket.IO events of agent sessions, with python-socketio's own client."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import socketio
from conftest import served, until
from fake_organism import FakeOrganism
from fake_sessions import FakeSessions, Script

from organism.sessions.records import NewSession
from organism.sessions.wire import Query

HELLO = ["query", "event", "agent-status", "event", "event", "event", "answer", "event", "agent-status", "event"]
"""What a run of the fake is in agent-events."""


class Caller:
    """A client that notes everything it is sent."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self.client = client
        self.heard: list[tuple[str, Any]] = []
        client.on("*", self._note)

    async def _note(self, event: str, *payload: Any) -> None:
        self.heard.append((event, payload[0] if payload else None))

    async def ask(self, event: str, *payload: Any) -> Any:
        return await self.client.call(event, payload, timeout=10)

    def all(self, event: str) -> list[Any]:
        return [payload for name, payload in self.heard if name == event]

    def kinds(self) -> list[str]:
        return [each["type"] for each in self.all("agent-event")]

    def events(self) -> list[dict[str, Any]]:
        return [each["data"] for each in self.all("agent-event") if each["type"] == "event"]

    async def until_end(self, runs: int = 1) -> None:
        await until(lambda: sum(each["type"] == "agent_run_end" for each in self.events()) >= runs)


def drop_unread_answers() -> None:
    """The library leaves the answers to its POST requests unread, and aiohttp warns of each such connection."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@asynccontextmanager
async def caller_of(address: str, transport: str = "websocket") -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        client = socketio.AsyncClient(reconnection=False, http_session=http)
        caller = Caller(client)
        await client.connect(f"http://{address}", transports=[transport])
        try:
            yield caller
        finally:
            await client.disconnect()
            drop_unread_answers()


@pytest.fixture
async def address(organism: FakeOrganism, sessions: FakeSessions) -> AsyncIterator[str]:
    async with served(organism, sessions) as address:
        yield address


@pytest.fixture(params=["websocket", "polling"])
async def caller(request: pytest.FixtureRequest, address: str) -> AsyncIterator[Caller]:
    async with caller_of(address, request.param) as caller:
        yield caller


@pytest.fixture
async def session_id(sessions: FakeSessions) -> str:
    return (await sessions.create(NewSession())).id


async def test_a_run_is_told_in_the_classic_form_and_as_it_is(caller, sessions, session_id):
    assert await caller.ask("join-session", session_id) == {"success": True}
    assert await caller.ask("send-query", {"sessionId": session_id, "query": "hi"}) == {"success": True}
    await caller.until_end()
    await until(lambda: len(caller.all("agent-status")) == 3)
    assert caller.kinds() == HELLO
    assert [each["data"]["text"] for each in caller.all("agent-event") if each["type"] in ("query", "answer")] == [
        "hi",
        "Hello",
    ]
    assert [each["state"] for each in caller.all("agent-status")] == ["idle", "executing", "idle"]
    assert [each["seq"] for each in caller.events() if "seq" in each] == [1, 2, 3, 4]


async def test_ping_is_acknowledged_without_data(caller):
    acknowledged = asyncio.get_running_loop().create_future()
    await caller.client.emit("ping", callback=lambda *data: acknowledged.set_result(data))
    assert await asyncio.wait_for(acknowledged, 10) == ()


async def test_the_acknowledgement_of_a_join_comes_before_what_follows_from_it(caller, sessions, session_id):
    await sessions.ask(session_id, Query("hi"))
    join = {"sessionId": session_id, "after": 1}
    await caller.client.emit("join-session", join, callback=lambda ack: caller.heard.append(("ack", ack)))
    await caller.until_end()
    assert caller.heard[:2] == [
        ("ack", {"success": True}),
        ("agent-status", {"isProcessing": False, "state": "idle"}),
    ]
    assert [each["seq"] for each in caller.events()] == [2, 3, 4]


async def test_joining_twice_doubles_nothing(caller, session_id):
    for _ in range(3):
        assert await caller.ask("join-session", {"sessionId": session_id}) == {"success": True}
    await caller.ask("send-query", {"sessionId": session_id, "query": "hi"})
    await caller.until_end()
    assert caller.kinds() == HELLO


async def test_joining_again_with_a_position_replays_from_there(caller, session_id):
    await caller.ask("join-session", session_id)
    await caller.ask("send-query", {"sessionId": session_id, "query": "hi"})
    await caller.until_end()
    caller.heard.clear()
    await caller.ask("join-session", {"sessionId": session_id, "after": 2})
    await caller.until_end()
    assert [each["seq"] for each in caller.events()] == [3, 4]


async def test_who_has_left_hears_nothing_more(caller, sessions, session_id):
    await caller.ask("join-session", session_id)
    assert await caller.ask("leave-session", session_id) == {"success": True}
    assert sessions.followers() == 0
    await sessions.ask(session_id, Query("hi"))
    await caller.ask("ping")
    assert caller.all("agent-event") == []


async def test_abort_ends_the_run_and_is_told_twice(caller, sessions, session_id):
    sessions.scripts.append(Script(gate=asyncio.Event()))
    await caller.ask("join-session", session_id)
    await caller.ask("send-query", {"sessionId": session_id, "query": "hi"})
    assert await caller.ask("abort-query", {"sessionId": session_id}) == {"success": True}
    await until(lambda: caller.all("abort-result"))
    await caller.until_end()
    assert caller.all("abort-result") == [{"success": True}]
    assert caller.kinds()[-3:] == ["aborted", "agent-status", "event"]
    nothing = await caller.ask("abort-query", {"sessionId": session_id})
    assert nothing == {"success": False, "error": "Nothing is running in this session."}


async def test_a_busy_session_refuses_a_query(caller, sessions, session_id):
    sessions.scripts.append(Script(gate=asyncio.Event()))
    await caller.ask("send-query", {"sessionId": session_id, "query": "hi"})
    refused = await caller.ask("send-query", {"sessionId": session_id, "query": "hi"})
    assert not refused["success"]
    assert refused["error"].startswith("Agent is already executing a task.")
    await until(lambda: caller.all("error") == [refused["error"]])


async def test_the_status_of_the_server_is_acknowledged_and_emitted(caller, sessions, session_id):
    sessions.config = sessions.config.model_copy(update={"exclusive": True})
    idle = {"isExclusive": True, "runningSessionId": None, "canAcceptNewRequest": True}
    assert await caller.ask("get-server-status") == idle
    sessions.scripts.append(Script(gate=asyncio.Event()))
    await caller.ask("send-query", {"sessionId": session_id, "query": "hi"})
    assert await caller.ask("get-server-status") == {
        "isExclusive": True,
        "runningSessionId": session_id,
        "canAcceptNewRequest": False,
    }
    await until(lambda: len(caller.all("server-status")) == 2)


async def test_followers_are_told_of_the_end_of_the_session(caller, sessions, session_id):
    await caller.ask("join-session", session_id)
    await sessions.delete(session_id)
    await until(lambda: caller.kinds() == ["closed"])
    assert not (await caller.ask("join-session", session_id))["success"]


async def test_two_clients_of_a_session_hear_the_same(address, session_id):
    async with caller_of(address) as one, caller_of(address, "polling") as other:
        for each in (one, other):
            await each.ask("join-session", session_id)
        await one.ask("send-query", {"sessionId": session_id, "query": "hi"})
        for each in (one, other):
            await each.until_end()
        assert one.all("agent-event") == other.all("agent-event")


async def test_a_client_that_goes_leaves_nothing_behind(address, sessions, session_id):
    async with caller_of(address) as caller:
        await caller.ask("join-session", session_id)
        assert sessions.followers() == 1
    await until(lambda: sessions.followers() == 0)


async def test_a_storage_that_is_down_is_told(caller, sessions, session_id):
    sessions.fail()
    for event in ("join-session", "send-query", "abort-query"):
        answer = await caller.ask(event, {"sessionId": session_id, "query": "hi"})
        assert not answer["success"]
        assert "down in this test" in answer["error"]


ODD: list[tuple[Any, ...]] = [
    (),
    (None,),
    (7,),
    (True,),
    ([],),
    ({},),
    ("",),
    ("../../etc/passwd",),
    ({"sessionId": None},),
    ({"sessionId": ["a"]},),
    ({"sessionId": {"$ne": 1}, "query": {}},),
    ({"sessionId": "a", "query": 7, "after": "x"},),
    ({"sessionId": "x" * 100_000, "query": "hi"},),
    (b"\x00\xff",),
    ({"sessionId": b"\x00"},),
    (1, 2, 3),
]


@pytest.mark.parametrize("event", ["join-session", "leave-session", "send-query", "abort-query"])
async def test_whatever_a_client_sends_is_answered(caller, event):
    for payload in ODD:
        answer = await caller.ask(event, *payload)
        plain_leave = event == "leave-session" and answer == {"success": True}
        assert plain_leave or (answer["success"] is False and isinstance(answer["error"], str)), payload
        assert "Traceback" not in str(answer)
    await caller.ask("ping")


async def test_unknown_events_and_odd_payloads_of_the_others_end_nothing(caller):
    for payload in ODD:
        await caller.ask("ping", *payload)
        assert "isExclusive" in await caller.ask("get-server-status", *payload)
    assert not (await caller.ask("no-such-event"))["success"]
    await until(lambda: "unknown" in caller.all("error")[-1])
