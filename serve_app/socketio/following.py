"""What happens in a session, sent to one client that has joined it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engineio.packet import Packet

from organism.errors import OrganismError
from organism.sessions.ref import SessionsRef, Watched
from organism.sessions.wire import SessionStatus
from serve_app.error_handlers import describe
from serve_app.socketio.packets import closed, emitted, packets_of, status_data

Send = Callable[[list[Packet]], Awaitable[None]]
"""Queues packets for the client; waits while too many are queued."""


class Following:
    """One client's way through one session, from `run` to the session's end or to a failure.

    Args:
        after_seq: replay what is stored behind it, None for nothing.
    """

    def __init__(self, sessions: SessionsRef, session_id: str, after_seq: int | None, send: Send) -> None:
        self._sessions = sessions
        self._session_id = session_id
        self._after_seq = after_seq
        self._send = send
        self._entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._may_send = asyncio.Event()
        self._status: SessionStatus | None = None
        self.task: asyncio.Task[None] | None = None

    async def entered(self) -> None:
        """Returns when nothing that happens from now on is missed. Raises what kept it from that."""
        await asyncio.shield(self._entered)

    def begin(self) -> None:
        """The client knows that it has joined: events may follow."""
        self._may_send.set()

    def status_packets(self) -> list[Packet]:
        """As last seen; none before the first one was sent."""
        return [] if self._status is None else [_status_packet(self._status)]

    async def run(self) -> None:
        """Ends when the session is deleted or cannot be followed; the client is told why."""
        try:
            async with self._sessions.watch(self._session_id, self._after_seq) as items:
                self._entered.set_result(None)
                await self._may_send.wait()
                async for item in items:
                    await self._pass_on(item)
        except OrganismError as error:
            await self._fail(error)
        finally:
            self._entered.cancel()  # no effect where it has a result

    async def _pass_on(self, item: Watched) -> None:
        is_first = self._status is None
        packets = [packet for frame in item.frames for packet in packets_of(frame)]
        if item.status is not None:
            self._status = item.status
            packets.insert(0 if is_first else len(packets), _status_packet(item.status))
        if item.is_deleted:
            packets.append(closed(self._session_id))
        await self._send(packets)

    async def _fail(self, error: OrganismError) -> None:
        if self._entered.done():
            await self._send([emitted("error", describe(error)["message"])])
        else:
            self._entered.set_exception(error)


def _status_packet(status: SessionStatus) -> Packet:
    return emitted("agent-status", status_data(status))
