from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from fake_librarian import FakeLibrarian
from fake_organism import FakeOrganism
from fake_sessions import FakeSessions
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect

from organism.ref import OrganismRef
from serve_app.app import build_app


@pytest.fixture
def organism() -> FakeOrganism:
    return FakeOrganism()


@pytest.fixture
async def librarian() -> AsyncIterator[FakeLibrarian]:
    librarian = FakeLibrarian()
    yield librarian
    await librarian.close()


@pytest.fixture
def sessions(tmp_path: Path) -> FakeSessions:
    return FakeSessions(tmp_path)


def app_of(
    organism: OrganismRef, sessions: FakeSessions | None = None, librarian: FakeLibrarian | None = None
) -> FastAPI:
    return build_app(organism, None if sessions is None else lambda: sessions, librarian)


@asynccontextmanager
async def client_of(
    organism: OrganismRef, sessions: FakeSessions | None = None, librarian: FakeLibrarian | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application in this process; requests that fail with a bug are answered, not raised."""
    app = app_of(organism, sessions, librarian)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://organism") as client,
    ):
        yield client


@pytest.fixture
async def client(organism: FakeOrganism) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(organism) as client:
        yield client


@asynccontextmanager
async def served(
    organism: OrganismRef, sessions: FakeSessions | None = None, librarian: FakeLibrarian | None = None
) -> AsyncIterator[str]:
    """The application behind a real server on a free port; gives `host:port`."""
    async with served_app(app_of(organism, sessions, librarian)) as address:
        yield address


@asynccontextmanager
async def served_app(app: FastAPI) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", lifespan="on", ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await until(lambda: server.started)
        yield "{}:{}".format(*listening.getsockname())
    finally:
        server.should_exit = True
        await serving


async def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event to wait on
            await asyncio.sleep(0.005)


async def eventually(ask: Callable[[], Awaitable[object]], answer: object, timeout_s: float = 10.0) -> None:
    """Asks until the answer is the one that is expected."""
    async with asyncio.timeout(timeout_s):
        while await ask() != answer:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Socket:
    """A WebSocket that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, **command: Any) -> None:
        await self.connection.send(orjson.dumps(command).decode())

    async def hear(self, *kinds: str) -> dict[str, Any]:
        """The next event of one of these kinds (a bare message has the kind ''), whatever comes before it."""
        async with asyncio.timeout(10):
            while True:
                event = orjson.loads(await self.connection.recv())
                if not kinds or event.get("event", "") in kinds:
                    return event

    async def ask(self, **command: Any) -> dict[str, Any]:
        """The answer to a command."""
        await self.say(**command)
        return await self.hear("ack", "error")

    async def hears_nothing_before_pong(self) -> None:
        """Fails if anything but the answer to a ping is on its way."""
        answer = await self.say(cmd="ping") or await self.hear()
        assert (answer["event"], answer["cmd"]) == ("ack", "ping"), answer


@asynccontextmanager
async def socket_to(address: str, path: str = "/ws") -> AsyncIterator[Socket]:
    async with connect(f"ws://{address}{path}", max_size=None, compression=None) as connection:
        yield Socket(connection)


@pytest.fixture
async def address(organism: FakeOrganism) -> AsyncIterator[str]:
    async with served(organism) as address:
        yield address
