"""One Socket.IO client: obeys its commands one after another, and follows the sessions that it has joined."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from engineio.async_socket import AsyncSocket
from engineio.packet import Packet
from pydantic import Field

from organism.access.principal import Principal, Role
from organism.errors import OrganismError, OrganismUnreachable
from organism.sessions.ref import SessionsRef
from organism.sessions.wire import Query
from organism.tasks import Tasks
from serve_app.auth import check_role
from serve_app.dependencies import Replica
from serve_app.error_handlers import describe
from serve_app.errors import InvalidRequest, ReplicaBusy
from serve_app.owned_sessions import sessions_of
from serve_app.queries import Model, Position, validated
from serve_app.routes.session_queries import NOTHING_RUNS
from serve_app.session_requests import Ask, OfSession
from serve_app.socketio.engine import STALL_S, Backlog
from serve_app.socketio.following import Following
from serve_app.socketio.packets import emitted

MAX_OPEN_COMMANDS = 1000
"""Commands of one client that have not been answered; one that sends more is cut off."""

MAX_JOINED = 1000
"""Sessions that one client follows."""

EVENT_ROLES: dict[str, Role] = {
    "ping": Role.VIEWER,
    "get-server-status": Role.VIEWER,
    "join-session": Role.OPERATOR,
    "leave-session": Role.OPERATOR,
    "send-query": Role.OPERATOR,
    "abort-query": Role.OPERATOR,
}
"""The least that may."""

INTERNAL_ERROR = "internal error; its cause is in the log of this API replica"

Ack = dict[str, Any]

_log = logging.getLogger(__name__)


class Join(OfSession):
    after: Position | None = Field(default=None, description="replay stored events behind this seq first; 0: all")


class Client:
    """
    Args:
        principal: who the client is.
        socket: the client's connection, over whichever transport.
        cut_off: ends the connection at once, and does not wait for the client.
    """

    def __init__(
        self, principal: Principal, socket: AsyncSocket, replica: Replica, tasks: Tasks, cut_off: Callable[[], None]
    ) -> None:
        self._principal = principal
        self._backlog: Backlog = socket.queue
        self._replica = replica
        self._tasks = tasks
        self._cut_off = cut_off
        self._turn = asyncio.Lock()
        self._open_commands = 0
        self._is_closed = False
        self._joined: dict[str, Following] = {}
        self._commands: dict[str, Callable[..., Awaitable[Ack | None]]] = {
            "ping": self._ping,
            "join-session": self._join,
            "leave-session": self._leave,
            "send-query": self._send_query,
            "abort-query": self._abort_query,
            "get-server-status": self._server_status,
        }

    async def obey(self, event: str, *payload: Any) -> Ack | None:
        """What the client is acknowledged; None for an acknowledgement without data.

        Commands take effect in the order in which they came.
        """
        self._open_commands += 1
        if self._open_commands > MAX_OPEN_COMMANDS:
            self._cut_off()
        try:
            async with self._turn:
                await self._pace()
                return None if self._is_closed else await self._obey(event, payload)
        finally:
            self._open_commands -= 1

    async def close(self) -> None:
        """The client has gone."""
        self._is_closed = True
        self._backlog.put_nowait(None)  # ends a poll that waits, which the library would leave waiting
        tasks = [following.task for following in self._joined.values() if following.task is not None]
        self._joined.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pace(self) -> None:
        if self._principal.credential:
            delay_s = self._replica.access.usage.command_delay_s(self._principal.id)
            if delay_s > 0:
                await asyncio.sleep(delay_s)

    async def _obey(self, event: str, payload: tuple[Any, ...]) -> Ack | None:
        timeout_s = self._replica.live.api.request_timeout_s
        try:
            await self._room()
            command = self._commands.get(event)
            if command is None:
                raise InvalidRequest((("event", f"unknown; there are: {', '.join(self._commands)}"),))
            check_role(self._principal, EVENT_ROLES[event])
            async with asyncio.timeout(timeout_s):
                return await command(*payload[:1])
        except OrganismError as error:
            problem = describe(error)["message"]
        except TimeoutError:
            problem = str(OrganismUnreachable(f"no answer within {timeout_s:g} s"))
        except Exception:  # a bug of ours must not look to the client as if its command had got lost
            _log.exception("the command %s of a Socket.IO client failed", event)
            problem = INTERNAL_ERROR
        return self._refuse(event, problem)

    def _refuse(self, event: str, problem: str) -> Ack:
        failed = {"success": False, "error": problem}
        if event == "abort-query":
            self._emit("abort-result", failed)
        self._emit("error", problem)
        return failed

    # Commands

    @property
    def _sessions(self) -> SessionsRef:
        """As far as the principal may reach them. Raises: SessionsNotServed."""
        return sessions_of(self._replica, self._principal)

    async def _ping(self, *_: Any) -> None:
        return None

    async def _join(self, payload: Any = None) -> Ack:
        join = _parsed(Join, {"sessionId": payload} if isinstance(payload, str) else payload)
        following = self._joined.get(join.session_id)
        if following is not None and join.after is None:
            self._send_now(following.status_packets())
            return {"success": True}
        await self._leave_session(join.session_id)
        if len(self._joined) >= MAX_JOINED:
            raise ReplicaBusy("sessions of this client", MAX_JOINED)
        await self._follow(join)
        return {"success": True}

    async def _follow(self, join: Join) -> None:
        session_id = join.session_id
        following = Following(self._sessions, session_id, join.after, self._send)
        following.task = self._tasks.spawn(following.run(), f"follows {session_id} for a Socket.IO client")
        self._joined[session_id] = following
        following.task.add_done_callback(lambda _: self._forget(session_id, following))
        try:
            await following.entered()
        except BaseException:
            following.task.cancel()
            raise
        following.begin()

    def _forget(self, session_id: str, following: Following) -> None:
        if self._joined.get(session_id) is following:
            del self._joined[session_id]

    async def _leave(self, payload: Any = None) -> Ack:
        of = _parsed(OfSession, {"sessionId": payload} if isinstance(payload, str) else payload)
        await self._leave_session(of.session_id)
        return {"success": True}

    async def _leave_session(self, session_id: str) -> None:
        following = self._joined.pop(session_id, None)
        if following is not None and following.task is not None:
            following.task.cancel()
            await asyncio.wait([following.task])

    async def _send_query(self, payload: Any = None) -> Ack:
        ask = _parsed(Ask, payload)
        await self._sessions.begin(ask.session_id, Query(ask.query, stream=True))
        return {"success": True}

    async def _abort_query(self, payload: Any = None) -> Ack:
        of = _parsed(OfSession, {"sessionId": payload} if isinstance(payload, str) else payload)
        aborted = await self._sessions.abort(of.session_id)
        result = {"success": True} if aborted else {"success": False, "error": NOTHING_RUNS}
        self._emit("abort-result", result)
        return result

    async def _server_status(self, *_: Any) -> Ack:
        status = await self._sessions.server_status()
        shown = {
            "isExclusive": status.is_exclusive,
            "runningSessionId": status.running_session_id,
            "canAcceptNewRequest": status.can_accept,
        }
        self._emit("server-status", shown)
        return shown

    # What the client is sent

    def _emit(self, event: str, data: object) -> None:
        self._send_now([emitted(event, data)])

    async def _send(self, packets: list[Packet]) -> None:
        self._send_now(packets)
        await self._room()

    def _send_now(self, packets: list[Packet]) -> None:
        for packet in packets:
            self._backlog.put_nowait(packet)

    async def _room(self) -> None:
        try:
            async with asyncio.timeout(STALL_S):
                await self._backlog.room()
        except TimeoutError:
            self._cut_off()


def _parsed(model: type[Model], payload: Any) -> Model:
    """Raises: InvalidRequest, SessionNotFound."""
    if not isinstance(payload, dict):
        raise InvalidRequest((("", "send an object such as {sessionId: …}"),))
    return validated(model, payload)
