"""The stored side of sessions: many writes go in one commit, and whoever writes waits for its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from organism.errors import Stopping
from organism.sessions.events import Frame
from organism.sessions.records import SessionRecord
from organism.storage.sessions.base import SessionCommit, SessionStorage
from organism.tasks import Tasks


class _Group:
    """What is committed together next; `done` fails with all of it."""

    def __init__(self) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.events: list[Frame] = []
        self.deleted: list[str] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def commit(self) -> SessionCommit:
        return SessionCommit(list(self.records.values()), self.events, self.deleted)


class SessionLog:
    """Commits in groups: whatever gathers while one commit is under way goes in the next."""

    def __init__(self, storage: SessionStorage, tasks: Tasks) -> None:
        self.storage = storage
        self._tasks = tasks
        self._next: _Group | None = None
        self._writing: _Group | None = None
        self._writer: asyncio.Task[None] | None = None
        self._is_closed = False

    async def write(
        self, records: Iterable[SessionRecord] = (), events: Iterable[Frame] = (), deleted: Iterable[str] = ()
    ) -> None:
        """Returns when all of it is stored.

        Raises:
            StorageUnavailable: nothing of it is.
            Stopping: the log is closed.
        """
        if self._is_closed:
            raise Stopping
        if self._next is None:
            self._next = _Group()
        group = self._next
        group.records.update((each.id, each) for each in records)
        group.events.extend(events)
        group.deleted.extend(deleted)
        if self._writer is None or self._writer.done():
            self._writer = self._tasks.spawn(self._write_all(), "commit of sessions")
        await asyncio.shield(group.done)

    async def flush(self) -> None:
        """Returns when all that was written up to now is stored, or has failed."""
        waiting = [group.done for group in (self._writing, self._next) if group is not None]
        if waiting:
            await asyncio.wait(waiting)

    async def close(self) -> None:
        """Finishes what is being written, takes nothing more, and closes the storage."""
        self._is_closed = True
        await self.flush()
        await self.storage.close()

    async def _write_all(self) -> None:
        while self._next is not None:
            self._writing, self._next = self._next, None
            try:
                await self._write(self._writing)
            finally:
                self._writing = None

    async def _write(self, group: _Group) -> None:
        try:
            await self.storage.commit(group.commit())
        except asyncio.CancelledError:
            group.done.set_exception(Stopping())
            _seen(group.done)
            raise
        except Exception as error:  # it belongs to those who wrote: each of them is told
            group.done.set_exception(error)
            _seen(group.done)
        else:
            group.done.set_result(None)


def _seen(done: asyncio.Future[None]) -> None:
    """Nobody may wait any more, which is no reason for a warning."""
    done.exception()
