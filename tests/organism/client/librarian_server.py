"""The librarian's routes over real HTTP, in this process, around a fake librarian: what clients' tests speak to."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

sys.path.append(str(Path(__file__).parents[2] / "serve_app"))  # where the fakes of the API are

from fake_librarian import FakeLibrarian
from fake_organism import FakeOrganism

from serve_app.app import build_app

GIT_URL = "https://example.org/greeter.git"


class Cut(Exception):
    """Breaks the connection."""


@dataclass
class LibrarianServer:
    """The application; `cuts` are ends of paths, each cuts the connection of one request before it is answered."""

    librarian: FakeLibrarian
    url: str = ""
    cuts: list[str] = field(default_factory=list)
    app: ASGIApp | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def on_loop(self, act: Callable[[], Any]) -> None:
        """Runs `act` in the server's loop, from another thread, and waits for it."""
        assert self.loop is not None
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        if scope["type"] != "http":
            self.loop = asyncio.get_running_loop()
        elif cut := next((each for each in self.cuts if scope["path"].endswith(each)), None):
            self.cuts.remove(cut)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
            raise Cut
        await self.app(scope, receive, send)


@contextmanager
def serving_librarian() -> Iterator[LibrarianServer]:
    server = LibrarianServer(FakeLibrarian())
    server.app = build_app(FakeOrganism(), None, server.librarian)
    listening = socket.create_server(("127.0.0.1", 0))
    server.url = "http://{}:{}".format(*listening.getsockname())
    config = uvicorn.Config(server, log_level="critical", lifespan="on", timeout_graceful_shutdown=1)
    config.ws_per_message_deflate = False
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            threading.Event().wait(0.005)
        yield server
    finally:
        assert server.loop is not None
        asyncio.run_coroutine_threadsafe(server.librarian.close(), server.loop).result(5)
        running.should_exit = True
        thread.join()
        listening.close()
