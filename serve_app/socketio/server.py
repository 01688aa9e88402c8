"""Socket.IO (protocol version 4) for the agent sessions of one replica, as an ASGI application."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self
from urllib.parse import parse_qs

import orjson
from engineio.async_socket import AsyncSocket
from socketio.exceptions import ConnectionRefusedError as Refused
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from organism.errors import OrganismError
from serve_app.dependencies import Replica
from serve_app.errors import ReplicaBusy
from serve_app.request_timeout import lift_timeout
from serve_app.responses import Json
from serve_app.socketio.client import Client
from serve_app.socketio.engine import Connection, Server

NAMESPACE = "/"
TRY_AGAIN_LATER = 1013


async def socketio_of_app(scope: Scope, receive: Receive, send: Send) -> None:
    """What is mounted at /socket.io: the server itself lives as long as the application runs."""
    socket_io: SocketIO = scope["app"].state.socket_io
    await socket_io(scope, receive, send)


class SocketIO:
    """All Socket.IO clients of a replica; an async context manager that leaves no task behind."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._server = Server()
        self._clients: dict[str, tuple[Client, ExitStack]] = {}
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("*", self._obey)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.eio.close()
        for sid in list(self._clients):
            await self._disconnect(sid, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        max_bytes = self._replica.live.limits.max_body_bytes
        self._server.eio.max_http_buffer_size = max_bytes  # it may change with a reload
        lift_timeout(scope)  # a poll waits for the next event, or for the next ping
        if (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        if scope["type"] == "websocket":
            connection = Connection(receive, send, max_bytes)
            receive, send = connection.receive, connection.send
        await self._server.handle_request(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | WebSocketClose | None:
        """JSONP, with which pages of other sites get round the check of origins; a handshake where no place is left.

        A handshake takes no place of limits.max_clients yet: those are for clients that speak Socket.IO, too.
        """
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if "j" in query:
            return _failure(400, "JSONP is not served; use the transports polling or websocket")
        most = self._replica.live.limits.max_clients
        if "sid" in query or len(self._server.eio.sockets) < most:
            return None
        if scope["type"] == "websocket":
            return WebSocketClose(TRY_AGAIN_LATER)
        return _failure(429, str(ReplicaBusy("clients (limits.max_clients)", most)))

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        engine, socket = self._server.eio, self._socket_of(sid)
        place = ExitStack()
        try:
            self._replica.sessions  # noqa: B018 - raises where there are none
            place.enter_context(self._replica.stream_place())
        except OrganismError as error:
            raise Refused(str(error)) from None
        client = Client(socket, self._replica, engine.tasks, lambda: engine.cut_off(socket))
        self._clients[sid] = client, place

    async def _disconnect(self, sid: str, reason: str) -> None:
        client, place = self._clients.pop(sid, (None, None))
        if client is not None and place is not None:
            place.close()
            await client.close()

    async def _obey(self, event: str, sid: str, *payload: Any) -> Any:
        client, _ = self._clients.get(sid, (None, None))
        return None if client is None else await client.obey(event, *payload)

    def _socket_of(self, sid: str) -> AsyncSocket:
        return self._server.eio.sockets[self._server.manager.eio_sid_from_sid(sid, NAMESPACE)]


def _failure(status: int, problem: str) -> Response:
    return Json(orjson.dumps({"error": problem}), status_code=status)
