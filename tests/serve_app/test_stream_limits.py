"""Streams that end with the key that opened them, and how many and how fast they may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import httpx
import pytest
from conftest import until
from test_stream_access import Place, closed_with, place  # noqa: F401 - a fixture

from organism.config import PrincipalLimits
from organism.sessions.records import NewSession


def limit(place: Place, **limits: float) -> None:  # noqa: F811
    live = place.it.app.state.replica.live
    live.auth = live.auth.model_copy(update={"limits": PrincipalLimits(**limits)})  # type: ignore[arg-type]


@asynccontextmanager
async def event_stream(place: Place, name: str, session_id: str) -> AsyncIterator[httpx.Response]:  # noqa: F811
    headers = {"x-api-key": place.it.keys[name]}
    url = f"http://{place.address}/api/sessions/events/stream"
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", url, params={"sessionId": session_id}, headers=headers) as response,
    ):
        yield response


async def test_a_revoked_key_ends_its_event_streams(place):  # noqa: F811
    session = await place.it.sessions.create(NewSession(), "key:operator")
    async with event_stream(place, "operator", session.id) as mine, event_stream(place, "admin", session.id) as other:
        assert (mine.status_code, other.status_code) == (200, 200)
        await place.it.desk.revoke_key("operator")
        await place.it.refresh()
        async with asyncio.timeout(10):
            async for _ in mine.aiter_bytes():
                pass
        assert not other.is_stream_consumed
    async with event_stream(place, "operator", session.id) as again:
        assert again.status_code == 401


async def test_a_principal_has_so_many_streams_and_others_have_theirs(place):  # noqa: F811
    limit(place, streams=2)
    session = await place.it.sessions.create(NewSession(), "key:operator")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(event_stream(place, "operator", session.id))
        socket = await stack.enter_async_context(place.socket("operator"))
        await socket.hear("connected")
        refused = await stack.enter_async_context(event_stream(place, "operator", session.id))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        async with place.socket("operator") as third:
            assert await closed_with(third) == 1013
        async with place.socket("viewer") as others:
            await others.hear("connected")
    async with place.socket("operator") as socket:
        await socket.hear("connected")


async def test_commands_beyond_the_rate_wait_and_none_is_lost(place):  # noqa: F811
    limit(place, commands_per_s=20)  # forty at once, after a rest
    async with place.socket("operator") as socket:
        await socket.hear("connected")
        begun_s = asyncio.get_running_loop().time()
        for number in range(50):
            await socket.say(cmd="ping", id=number)
        answers = [(await socket.hear("ack"))["id"] for _ in range(50)]
        assert answers == list(range(50))
        assert asyncio.get_running_loop().time() - begun_s > 0.4


@pytest.mark.parametrize("path", ["/ws", "/ws/messages"])
async def test_a_quarter_of_the_places_is_for_those_who_have_not_said_who_they_are(place, path):  # noqa: F811
    live = place.it.app.state.replica.live
    live.limits = live.limits.model_copy(update={"max_clients": 8})
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(place.socket(path=path))
        hub = place.it.app.state.replica.hub
        await until(lambda: hub.unknown == 2)
        async with place.socket(path=path) as one_more:
            assert await closed_with(one_more) == 1013
        async with place.socket("viewer", path) as known:
            assert (await known.ask(cmd="ping"))["event"] == "ack"
    await until(lambda: hub.unknown == 0)


async def test_a_socket_io_connection_that_never_connects_is_cut_off(place, monkeypatch):  # noqa: F811
    monkeypatch.setattr("serve_app.socketio.engine.CONNECT_WITHIN_S", 0.1)
    url = f"http://{place.address}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
        assert (await connection.receive(10)).type is aiohttp.WSMsgType.TEXT
        message = await connection.receive(10)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    await until(lambda: not place.it.app.state.socket_io._server.eio.sockets)


async def test_socket_io_keeps_places_for_those_who_say_who_they_are(place):  # noqa: F811
    live = place.it.app.state.replica.live
    live.limits = live.limits.model_copy(update={"max_clients": 8})
    url = f"http://{place.address}/socket.io/?EIO=4&transport=polling"
    known = {"x-api-key": place.it.keys["operator"]}
    async with aiohttp.ClientSession() as http:

        async def status(headers: dict[str, str] | None = None) -> int:
            async with http.get(url, headers=headers) as answer:
                return answer.status

        assert [await status() for _ in range(3)] == [200, 200, 429]
        assert await status(known) == 200
