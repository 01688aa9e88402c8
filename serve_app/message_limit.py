"""How much of a WebSocket message is kept: no more than may be sent, until the client has said who it is."""

from __future__ import annotations

from typing import Any

from starlette.types import Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_REFUSED_BYTES = 16 * 1024 * 1024
"""Messages up to this size reach the application, which answers the ones that are too large; more ends the stream."""

_EXTENSION = "organism.message_limit"


class LimitedMessages(WebSocketsSansIOProtocol):
    """Lets the application raise the limit of one connection, which is that of uvicorn, `ws_max_size`, at first."""

    async def run_asgi(self) -> None:
        extensions: Any = self.scope.setdefault("extensions", {})
        extensions[_EXTENSION] = self
        await super().run_asgi()

    def lift(self) -> None:
        """From the next message on."""
        self.conn.max_message_size = max(MAX_REFUSED_BYTES, self.config.ws_max_size)


def lift_message_limit(scope: Scope) -> None:
    """The client of this connection is known: if it sends too much by mistake it is told so."""
    limited = scope.get("extensions", {}).get(_EXTENSION)
    if limited is not None:  # not where Serve's own proxy speaks with the client, nor in tests
        limited.lift()
