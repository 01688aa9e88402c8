"""Session cells in this process: for tests, and wherever there is no Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from organism.sessions.events import Frame
from organism.sessions.records import ModelChoice, SessionChanges, SessionRecord
from organism.sessions.session_cell import SessionCell
from organism.sessions.wire import (
    Answered,
    FeedBatch,
    Query,
    SessionCellAttached,
    SessionCellRef,
    SessionCellSpec,
    SessionLink,
    SessionStatus,
    Summary,
)
from organism.wire import CellDied

T = TypeVar("T")


class LocalSessionCells:
    """Implements SessionCellHost. `cells` by name, for those who want to end one."""

    def __init__(self, link: SessionLink) -> None:
        self._link = link
        self.cells: dict[str, LocalSessionCell] = {}

    async def start(self, spec: SessionCellSpec) -> SessionCellRef:
        """See SessionCellHost.start."""
        cell = SessionCell(spec, self._link)
        await cell.open()
        cell.start()
        local = self.cells[spec.name] = LocalSessionCell(cell)
        return local

    async def found(self) -> list[SessionCellRef]:
        """See SessionCellHost.found."""
        return [cell for cell in self.cells.values() if not cell.is_dead]


class LocalSessionCell:
    """Implements SessionCellRef by calling the cell; calls under way fail when it dies."""

    def __init__(self, cell: SessionCell) -> None:
        self.name = cell.spec.name
        self.incarnation = cell.spec.incarnation
        self._cell = cell
        self._died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_dead(self) -> bool:
        return self._died.done()

    async def begin(self, session_id: str, query: Query, follower: str | None = None) -> Frame:
        return await self._call(self._cell.begin(session_id, query, follower))

    async def ask(self, session_id: str, query: Query) -> Answered:
        return await self._call(self._cell.ask(session_id, query))

    async def abort(self, session_id: str) -> bool:
        return await self._call(self._cell.abort(session_id))

    async def status(self, session_id: str) -> SessionStatus:
        return await self._call(self._cell.status(session_id))

    async def change(self, session_id: str, changes: SessionChanges) -> SessionRecord:
        return await self._call(self._cell.change(session_id, changes))

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        return await self._call(self._cell.summarize(session_id, messages, model))

    async def follow(self, follower: str, session_id: str) -> int:
        return await self._call(self._cell.follow(follower, session_id))

    async def unfollow(self, follower: str, session_id: str) -> None:
        await self._call(self._cell.unfollow(follower, session_id))

    async def poll(self, follower: str, cursor: int, timeout_s: float) -> FeedBatch:
        return await self._call(self._cell.poll(follower, cursor, timeout_s))

    async def passivate(self, session_id: str) -> bool:
        return await self._call(self._cell.passivate(session_id))

    async def drop(self, session_id: str) -> None:
        await self._call(self._cell.drop(session_id))

    async def retire(self) -> None:
        await self._call(self._cell.retire())

    async def ping(self) -> None:
        await self._call(self._cell.ping())

    async def attach(self) -> SessionCellAttached:
        if self.is_dead:
            raise CellDied(self.name, self._died.result())
        return self._cell.attach()

    async def wait_died(self) -> str:
        return await asyncio.shield(self._died)

    async def kill(self) -> None:
        await self.die("killed")

    async def die(self, reason: str) -> None:
        """Ends the cell as if its process were gone: what it ran is lost, nothing more is stored."""
        if self._closing is None:
            self._died.set_result(reason)
            self._closing = asyncio.create_task(self._cell.close(), name=f"{self.name}: close")
        await asyncio.shield(self._closing)

    async def _call(self, call: Coroutine[Any, Any, T]) -> T:
        if self.is_dead:
            call.close()
            raise CellDied(self.name, self._died.result())
        task = asyncio.create_task(call)
        try:
            await asyncio.wait([task, self._died], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done() and not task.cancelled():
            return task.result()
        task.cancel()
        raise CellDied(self.name, self._died.result() if self.is_dead else "the call was cancelled")
