"""The HTTP server inside a replica, which Ray Serve starts with uvicorn's defaults, and what stands before our app."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.head_limit import limit_heads
from serve_app.message_limit import LimitedMessages

DIRECT_HEADER = "x-organism-direct"

SERVE_PATHS = "/-/"
"""What Serve answers itself: the health checks of HAProxy."""


class DirectIngress:
    """The outermost layer where requests reach the replica itself, as through HAProxy: they go straight to our app.

    Through Serve's own entrance a request costs as much again as all of our work on it. What Serve does there is
    done elsewhere or not needed: HAProxy counts requests, the app has limits and timeouts of its own, and it reads
    from the server, which stops reading when nobody does (Serve reads ahead, into memory without a bound).

    The answer to /ready says that it came this way: while HAProxy does not know the replica yet, Serve's slower proxy
    answers, and streams that begin there stay there.
    """

    def __init__(self, app: ASGIApp, serve: ASGIApp, prefix: str) -> None:
        self._app = app
        self._serve = serve
        self._root_path = prefix.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(SERVE_PATHS):
            await self._serve(scope, receive, send)
            return
        scope["root_path"] = self._root_path
        if scope["type"] == "http" and scope["path"].endswith("/ready"):
            send = _saying_so(send)
        await self._app(scope, receive, send)


def _saying_so(send: Send) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (DIRECT_HEADER.encode(), b"1")]
        await send(message)

    return send_with_header


def configure_server(app: ASGIApp, prefix: str, max_body_bytes: int) -> None:
    """Changes the servers that this process starts from now on: Serve lets nobody pass options.

    Compression costs every client's share of CPU for each event, on messages of some hundred bytes.

    Args:
        app: must live in the event loop that Serve starts the server in.
        prefix: what all paths begin with, `/` for nothing.
    """
    limit_heads()
    original = uvicorn.Config

    def config(serve: Callable[[], ASGIApp], **options: Any) -> uvicorn.Config:
        # Serve has silenced it, to log failures of applications itself; here it does not see them.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        return original(
            lambda: DirectIngress(app, serve(), prefix),
            **options,
            ws_per_message_deflate=False,
            ws=LimitedMessages,
            ws_max_size=max_body_bytes,
        )

    uvicorn.Config = config  # type: ignore[assignment,misc]
