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

from organism.access.principal import Principal
from organism.errors import OrganismError
from serve_app.auth import PRINCIPAL
from serve_app.body import with_body
from serve_app.commands import MAX_TOKEN_CHARS
from serve_app.dependencies import Replica
from serve_app.errors import BodyTooLarge, ReplicaBusy
from serve_app.hub import places_of_unknown
from serve_app.login import MAX_AUTH_BYTES, identified
from serve_app.owned_sessions import sessions_of
from serve_app.request_timeout import lift_timeout
from serve_app.responses import Json
from serve_app.socketio.client import Client
from serve_app.socketio.engine import NAMESPACE, Connection, Server

TRY_AGAIN_LATER = 1013
POLICY_VIOLATION = 1008

FOR_THE_KNOWN = (
    f"the body is larger than {MAX_AUTH_BYTES} bytes, which is for clients that have said who they are; "
    "CONNECT with a token first, or send a key in the headers"
)


async def socketio_of_app(scope: Scope, receive: Receive, send: Send) -> None:
    """What is mounted at /socket.io: the server itself lives as long as the application runs."""
    socket_io: SocketIO = scope["app"].state.socket_io
    await socket_io(scope, receive, send)


class SocketIO:
    """All Socket.IO clients of a replica; an async context manager that leaves no task behind."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._server = Server(lambda origin: origin in replica.live.api.cors_origins)
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
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if (refusal := self._refusal(scope, query)) is not None:
            await refusal(scope, receive, send)
            return
        if scope["type"] == "websocket":
            connection = Connection(receive, send, max_bytes)
            receive, send = connection.receive, connection.send
        elif scope["method"] == "POST":
            is_known = self._is_known(scope, query)
            try:
                scope, receive = await with_body(scope, receive, max_bytes if is_known else MAX_AUTH_BYTES)
            except BodyTooLarge as error:
                await _failure(413, str(error) if is_known else FOR_THE_KNOWN)(scope, receive, send)
                return
        lift_timeout(scope)  # a poll waits for the next event, or for the next ping
        await self._server.handle_request(scope, receive, send)

    def _is_known(self, scope: Scope, query: dict[str, list[str]]) -> bool:
        """Whether this client has said who it is, now or when it connected."""
        sid = self._server.manager.sid_from_eio_sid(query.get("sid", [""])[0], NAMESPACE)
        return scope.get(PRINCIPAL) is not None or sid in self._clients

    def _refusal(self, scope: Scope, query: dict[str, list[str]]) -> Response | WebSocketClose | None:
        """JSONP, with which pages of other sites get round the check of origins; a handshake where no place is left.

        A handshake takes no place of limits.max_clients yet: those are for clients that speak Socket.IO, too. Those who
        have not said who they are get a quarter of them, so that others find one.
        """
        if "j" in query:
            return _failure(400, "JSONP is not served; use the transports polling or websocket")
        if not self._is_openers(scope, query):
            if scope["type"] == "websocket":
                return WebSocketClose(POLICY_VIOLATION)
            return _failure(403, "this connection was opened by somebody else; connect anew")
        most, opened = self._replica.live.limits.max_clients, len(self._server.eio.sockets)
        is_stranger = scope.get(PRINCIPAL) is None
        may_wait = places_of_unknown(most)
        if "sid" in query or (opened < most and not (is_stranger and opened - len(self._clients) >= may_wait)):
            return None
        if scope["type"] == "websocket":
            return WebSocketClose(TRY_AGAIN_LATER)
        return _failure(429, str(ReplicaBusy("clients (limits.max_clients)", most)))

    def _is_openers(self, scope: Scope, query: dict[str, list[str]]) -> bool:
        """Whether a request for a connection comes from who has opened it, where that one was known by headers."""
        environ = self._server.environ.get(query.get("sid", [""])[0])
        opener = environ["asgi.scope"].get(PRINCIPAL) if environ else None
        asking = scope.get(PRINCIPAL)
        return opener is None or (asking is not None and asking.id == opener.id)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        engine, socket = self._server.eio, self._socket_of(sid)
        place = ExitStack()
        try:
            principal = await self._principal(environ["asgi.scope"], auth)
            sessions_of(self._replica, principal)  # raises where there are none
            if socket.closed:
                raise Refused("the client has gone")
            place.enter_context(self._replica.stream_place())
            try:
                place.enter_context(self._replica.access.stream(principal, lambda: engine.cut_off(socket)))
            except BaseException:
                place.close()
                raise
        except OrganismError as error:
            raise Refused(str(error)) from None
        client = Client(principal, socket, self._replica, engine.tasks, lambda: engine.cut_off(socket))
        self._clients[sid] = client, place

    async def _principal(self, scope: Scope, auth: Any) -> Principal:
        """By the headers of the handshake, or the token that CONNECT carries.

        Raises:
            Unauthenticated, OrganismUnreachable
        """
        principal: Principal | None = scope.get(PRINCIPAL)
        if principal is not None:
            return principal
        token = auth.get("token") if isinstance(auth, dict) else None
        is_token = isinstance(token, str) and len(token) <= MAX_TOKEN_CHARS
        return await identified(scope, token if is_token else None, self._replica)

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
