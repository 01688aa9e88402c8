"""How a WebSocket tells who it is: by the headers of its handshake, or by its first message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from organism.access.principal import Principal
from organism.errors import Unauthenticated
from serve_app.auth import PRINCIPAL, record_of
from serve_app.commands import Auth, Command, echo_of, parse_command
from serve_app.dependencies import Replica
from serve_app.errors import BadRequest, ReplicaBusy
from serve_app.frames import text_of
from serve_app.hub import places_of_unknown
from serve_app.injecting import parse_object
from serve_app.message_limit import lift_message_limit

AUTH_WITHIN_S = 5.0
MAX_AUTH_BYTES = 16_384

AUTH: dict[str, type[Command]] = {"auth": Auth}


class NoLogin(Exception):
    """What came first, or did not come, was no `auth`."""


async def log_in(websocket: WebSocket, replica: Replica) -> Principal:
    """Who is at the other end of this connection, which has been accepted. Nothing but the answer to `auth` is sent.

    Raises:
        NoLogin, Unauthenticated, OrganismUnreachable, WebSocketDisconnect
        ReplicaBusy: too many others have not said who they are.
    """
    principal: Principal | None = websocket.scope.get(PRINCIPAL)
    if principal is not None:
        lift_message_limit(websocket.scope)
        return principal
    with _place(replica):
        auth, echo = await _first_message(websocket)
        principal = websocket.scope[PRINCIPAL] = await identified(websocket.scope, auth.token, replica)
    lift_message_limit(websocket.scope)
    await websocket.send_text(text_of({"event": "ack", **echo, **shown(principal)}))
    return principal


def shown(principal: Principal) -> dict[str, Any]:
    return {"principal": principal.id, "role": principal.role.label}


async def identified(scope: Scope, token: str | None, replica: Replica) -> Principal:
    """Who has this token; a failure is recorded. Raises: Unauthenticated, OrganismUnreachable."""
    authority = replica.access.authority
    nobody = authority.nobody()
    if nobody is not None:
        return nobody
    try:
        if not token:
            raise authority.refusal_of_nobody()
        return await authority.identify(token)
    except Unauthenticated as error:
        replica.access.auditor.note(record_of(scope, "login", scope["path"], 401, str(error)))
        raise


@contextmanager
def _place(replica: Replica) -> Iterator[None]:
    hub, most = replica.hub, places_of_unknown(replica.live.limits.max_clients)
    if hub.unknown >= most:
        raise ReplicaBusy("connections that have not said who they are", most)
    hub.unknown += 1
    try:
        yield
    finally:
        hub.unknown -= 1


async def _first_message(websocket: WebSocket) -> tuple[Auth, dict[str, Any]]:
    try:
        async with asyncio.timeout(AUTH_WITHIN_S):
            event = await websocket.receive()
    except TimeoutError:
        raise NoLogin from None
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event.get("code", 1005))
    text = event.get("text")
    if text is None or len(text) > MAX_AUTH_BYTES or len(text.encode()) > MAX_AUTH_BYTES:
        raise NoLogin
    try:
        fields = parse_object(text)
        command = parse_command(fields, AUTH)
    except BadRequest:
        raise NoLogin from None
    assert isinstance(command, Auth)
    return command, echo_of(fields)
