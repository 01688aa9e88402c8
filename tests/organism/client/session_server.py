"""Agent sessions over real HTTP, in this process, with faults: what the client's tests speak to."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

sys.path.append(str(Path(__file__).parents[2] / "serve_app"))  # where the fakes of the API are

from fake_organism import FakeOrganism
from fake_sessions import FakeSessions, Script

from serve_app.app import build_app

__all__ = ["Fault", "Script", "SessionServer", "serving_sessions"]


@dataclass
class Fault:
    """What becomes of the next request whose path ends with `path`.

    status: answered instead, with `headers` and `body`. cut_after: the connection is cut after so many blocks of its
    stream. repeat: the first stored events of a stream are sent twice.
    """

    path: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    cut_after: int | None = None
    repeat: bool = False


class Cut(Exception):
    """Breaks the connection."""


@dataclass
class SessionServer:
    """The application behind faults; `requests` holds (method, path, query string) of all."""

    sessions: FakeSessions
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    app: ASGIApp | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def on_loop(self, act: Any, *args: Any) -> None:
        """Runs `act` in the server's loop, from another thread, and waits for it."""
        assert self.loop is not None
        done = threading.Event()

        def run() -> None:
            act(*args)
            done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        if scope["type"] != "http":
            self.loop = asyncio.get_running_loop()
            await self.app(scope, receive, send)
            return
        self.requests.append((scope["method"], scope["path"], scope["query_string"].decode()))
        fault = next((each for each in self.faults if scope["path"].endswith(each.path)), None)
        if fault is None:
            await self.app(scope, receive, send)
            return
        self.faults.remove(fault)
        if fault.status is not None:
            await _answer(fault, send)
            return
        await self.app(scope, receive, _faulty(fault, send))


async def _answer(fault: Fault, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    headers += [(name.encode(), value.encode()) for name, value in fault.headers.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(fault.body or {"error": "so it is in this test"})})


def _faulty(fault: Fault, send: Send) -> Send:
    blocks = 0

    async def faulty(message: Any) -> None:
        nonlocal blocks
        if message["type"] != "http.response.body" or not message.get("body"):
            await send(message)
            return
        for block in message["body"].split(b"\n\n")[:-1]:
            if blocks == fault.cut_after:
                await send({"type": "http.response.body", "body": block[: len(block) // 2], "more_body": True})
                raise Cut  # the server closes the connection in the midst of a block
            blocks += 1
            body = block + b"\n\n"
            await send({**message, "body": body + body if fault.repeat and b"\nid: " in block else body})

    return faulty


@contextmanager
def serving_sessions(**config: Any) -> Iterator[SessionServer]:
    server = SessionServer(FakeSessions(**config))
    server.app = build_app(FakeOrganism(), lambda: server.sessions)
    listening = socket.create_server(("127.0.0.1", 0))
    server.url = "http://{}:{}".format(*listening.getsockname())
    running = uvicorn.Server(
        uvicorn.Config(server, log_level="critical", lifespan="on", timeout_graceful_shutdown=1, ws="websockets-sansio")
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            threading.Event().wait(0.005)
        yield server
    finally:
        running.should_exit = True
        thread.join()
        listening.close()
