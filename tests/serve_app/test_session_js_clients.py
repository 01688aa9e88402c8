"""Clients from npm against the application: socket.io-client over both transports, and eventsource."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from conftest import served, until
from fake_sessions import Script
from node_client import lines_of

from organism.sessions.records import NewSession
from organism.sessions.wire import Query

KINDS = ["query", "event", "agent-status", "event", "event", "event", "answer", "event", "agent-status", "event"]
"""What the fake's run is in agent-events."""

PLAIN_LEAVE = {"success": True}
TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "polling"])


@TRANSPORTS
async def test_the_flow_of_the_classic_client(organism, sessions, transport):
    sessions.scripts += [Script(), Script(gate=asyncio.Event())]
    async with served(organism, sessions) as address:
        said = {name: value async for name, value in lines_of("classic_flow.mjs", f"http://{address}", transport)}
        await until(lambda: sessions.followers() == 0)
    assert said["transport"] == transport
    assert said["join"] == said["ask"] == said["leave"] == said["resume"] == {"success": True}
    assert said["kinds"] == KINDS
    assert said["texts"] == ["hi", "Hello"]
    assert said["seqs"] == [1, 2, 3, 4]
    assert [each["state"] for each in said["statuses"]] == ["idle", "executing", "idle"]
    assert said["idle abort"] == {"success": False, "error": "Nothing is running in this session."}
    assert said["aborts"] == [said["idle abort"], {"success": True}]
    assert said["last kinds"] == ["aborted", "agent-status", "event"]
    assert said["server"] == {"isExclusive": False, "runningSessionId": None, "canAcceptNewRequest": True}
    assert said["resumed"] == [3, 4, 5, 6, 7, 8]
    assert said["after leaving"] == 0


async def test_two_clients_of_one_session_hear_the_same_once(organism, sessions):
    async with served(organism, sessions) as address:
        said = {name: value async for name, value in lines_of("two_clients.mjs", f"http://{address}")}
    assert said["one"] == said["other"]
    assert [each["type"] for each in said["one"]] == KINDS


@TRANSPORTS
async def test_every_event_answers_every_payload_and_the_server_lives(organism, sessions, transport):
    async with served(organism, sessions) as address:
        said = [line async for line in lines_of("odd_payloads.mjs", f"http://{address}", transport)]
        after = {name: value async for name, value in lines_of("two_clients.mjs", f"http://{address}")}
    last = dict(said)
    assert last["connected"] is True
    assert last["works"] == {"success": True}
    assert last["too large"] in ("transport close", "transport error")
    assert after["one"] == after["other"]
    for name, value in said:
        if isinstance(value, dict) and "index" in value:
            assert "Traceback" not in str(value)
            assert _is_answer(name, value), (name, value)


def _is_answer(event: str, value: dict[str, Any]) -> bool:
    """A refusal in the acknowledgement or in an error event; of the commands that take no payload, what they say."""
    answer = value.get("answer")  # not there for an acknowledgement without data
    if value["errors"]:
        return all(isinstance(error, str) for error in value["errors"])
    if event == "ping":
        return answer is None or answer == {}
    if event == "get-server-status":
        return answer["isExclusive"] is False
    return event == "leave-session" and answer == PLAIN_LEAVE


async def test_an_event_source_connects_again_and_misses_nothing(organism, sessions):
    session_id = (await sessions.create(NewSession())).id
    await sessions.ask(session_id, Query("hi"))
    async with served(organism, sessions) as address, cuttable(address) as (base, cut):
        lines = lines_of("event_source.mjs", base, session_id, "8")
        said = [await anext(lines) for _ in range(5)]
        cut()
        await sessions.ask(session_id, Query("again"))
        said += [line async for line in lines]
    stored = [value for name, value in said if name == "event" and value["seq"] is not None]
    assert [value for name, value in said if name == "open"] == [1, 2]
    assert [each["seq"] for each in stored] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [each["lastEventId"] for each in stored] == [str(seq) for seq in range(1, 9)]


@asynccontextmanager
async def cuttable(address: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A way to the server whose open connections a test can close; gives its URL, and what closes them."""
    open_ways: set[asyncio.StreamWriter] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*address.split(":"))
        open_ways.update((writer, to_server))
        await asyncio.gather(copy(reader, to_server), copy(from_server, writer))

    def cut() -> None:
        for each in open_ways:
            each.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname()), cut
    finally:
        cut()
        server.close()
        await server.wait_closed()
