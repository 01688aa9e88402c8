"""The HTTP server inside a replica, which Ray Serve starts with uvicorn's defaults, and what stands before our app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_MESSAGE_BYTES = 16 * 1024 * 1024
"""Messages up to this size reach the application, which answers the ones that are too large; more ends the stream."""

DIRECT_HEADER = "x-organism-direct"

_READS_FOR_ITSELF = (b"x-request-disconnect-disabled", b"?1")


class DirectIngress:
    """The outermost layer of the application where requests reach the replica itself, as through HAProxy.

    The application reads from the server, which stops reading when nobody does. Otherwise Serve reads ahead of the
    application, into memory without a bound, in two more tasks for each request, and cancels it when a client leaves.
    The header is the one that clients may send to the same end.

    The answer to /ready says that it came this way: while HAProxy does not know the replica yet, Serve's slower proxy
    answers, and streams that begin there stay there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [*scope["headers"], _READS_FOR_ITSELF]
        if scope["type"] == "http" and scope["path"].endswith("/ready"):
            send = _saying_so(send)
        await self._app(scope, receive, send)


def _saying_so(send: Send) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (DIRECT_HEADER.encode(), b"1")]
        await send(message)

    return send_with_header


def configure_websockets(max_body_bytes: int) -> None:
    """Changes the defaults of the servers that this process starts from now on: Serve lets nobody pass options.

    Compression costs every client's share of CPU for each event, on messages of some hundred bytes.
    """
    original = uvicorn.Config

    def config(app: Callable[[], ASGIApp], **options: Any) -> uvicorn.Config:
        return original(
            lambda: DirectIngress(app()),
            **options,
            ws_per_message_deflate=False,
            ws_max_size=max(MIN_MESSAGE_BYTES, max_body_bytes),
        )

    uvicorn.Config = config  # type: ignore[assignment,misc]
