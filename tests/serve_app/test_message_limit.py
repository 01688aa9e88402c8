from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import uvicorn
from access_control import Guarded, guarded
from conftest import until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from serve_app.message_limit import MAX_REFUSED_BYTES, LimitedMessages, lift_message_limit

LIMIT_BYTES = 2_000_000
TOO_LARGE = 1009


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path) as it:
        yield it


@pytest.fixture
async def url(it: Guarded) -> AsyncIterator[str]:
    listening = sockets.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(it.app, log_level="warning", lifespan="off", ws=LimitedMessages, ws_max_size=LIMIT_BYTES)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started)
    yield "ws://{}:{}/ws".format(*listening.getsockname())
    server.should_exit = True
    await serving


async def answer(connection: ClientConnection, name: str) -> None:
    async with asyncio.timeout(10):
        while orjson.loads(await connection.recv())["event"] != name:
            pass


async def check_known(connection: ClientConnection) -> None:
    """It is told what is wrong with a message, and goes on."""
    await connection.send("x" * (LIMIT_BYTES + 1))
    await answer(connection, "error")
    await connection.send('{"cmd": "ping"}')
    await answer(connection, "ack")


async def test_who_is_known_by_headers_is_told_that_a_message_is_too_large(it, url):
    async with connect(url, additional_headers={"x-api-key": it.keys["viewer"]}) as connection:
        await check_known(connection)


async def test_so_is_who_has_said_it_first(it, url):
    async with connect(url) as connection:
        await connection.send(orjson.dumps({"cmd": "auth", "token": it.keys["viewer"]}).decode())
        await answer(connection, "ack")
        await check_known(connection)


async def test_a_message_of_full_length_may_come_right_behind_the_login(it, url):
    async with connect(url) as connection:
        await connection.send(orjson.dumps({"cmd": "auth", "token": it.keys["viewer"]}).decode())
        await connection.send("x" * LIMIT_BYTES)
        await answer(connection, "error")


@pytest.mark.parametrize("is_whole", [True, False])
async def test_of_a_stranger_no_more_is_kept_than_may_be_sent(url, is_whole):
    head = Frame(Opcode.TEXT, b"x" * (LIMIT_BYTES + 1), is_whole).serialize(mask=True)[:20]
    async with connect(url) as connection:
        connection.transport.write(head)  # of a message that would be too large, and does not come
        async with asyncio.timeout(4):  # no more than the five seconds of the login
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == TOO_LARGE


async def test_the_parts_of_a_message_count_together(url):
    async with connect(url) as connection:
        await connection.send("x" * (LIMIT_BYTES // 2 + 1) for _ in range(2))
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == TOO_LARGE


async def test_what_is_larger_than_all_that_is_refused_ends_the_stream(it, url):
    async with connect(url, additional_headers={"x-api-key": it.keys["viewer"]}) as connection:
        await answer(connection, "connected")
        connection.transport.write(Frame(Opcode.TEXT, b"x" * (MAX_REFUSED_BYTES + 1)).serialize(mask=True)[:20])
        with pytest.raises(ConnectionClosed):
            await answer(connection, "ack")


def test_other_servers_have_no_limit_to_lift():
    lift_message_limit({"type": "websocket"})
    lift_message_limit({"type": "websocket", "extensions": {}})
