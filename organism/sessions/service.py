"""Sessions as seen from outside the pump: finds each session's cell, asks it, and follows it through all faults.

Every API replica has one. A session's cell is asked directly; the directory (the pump) is asked where it is, once,
and again when the session has moved or its cell has died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from organism.errors import OrganismUnreachable, RunInterrupted
from organism.messages import new_id
from organism.sessions.cell_feed import CellFeed
from organism.sessions.events import Frame
from organism.sessions.records import ModelChoice, NewSession, SessionChanges, SessionFilter, SessionView
from organism.sessions.ref import Watched
from organism.sessions.watcher import Watcher
from organism.sessions.wire import (
    Answered,
    DirectoryRef,
    Placement,
    Query,
    ServerStatus,
    SessionCellPort,
    SessionNotHere,
    SessionSettings,
    SessionStatus,
    Summary,
)
from organism.tasks import Tasks
from organism.wire import CellDied

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOVE_TIMEOUT_S = 30.0
"""How long a request follows a session that moves or whose cells die."""

FIRST_DELAY_S = 0.02
MAX_DELAY_S = 0.5
MAX_PLACEMENTS = 100_000
STATUS_STORED = SessionStatus(False, "stored")
RECENT = 1000
"""Stored events among which the user_message of an interrupted run is looked for."""


class SessionService:
    """Implements SessionsRef; an async context manager. `connect` gives the cell of a placement."""

    def __init__(self, directory: DirectoryRef, connect: Callable[[Placement], SessionCellPort]) -> None:
        self._directory = directory
        self._connect = connect
        self._placements: dict[str, Placement] = {}
        self._feeds: dict[tuple[str, str], CellFeed] = {}
        self._tasks = Tasks(_log_failure)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None):
        await self._tasks.close()

    # What the directory knows

    async def create(self, new: NewSession, owner: str | None = None) -> SessionView:
        return await self._directory.create(new, owner)

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]:
        return await self._directory.sessions(where, limit, offset)

    async def session(self, session_id: str) -> SessionView:
        return await self._directory.view(session_id)

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        return await self._directory.events(session_id, after_seq, limit)

    async def delete(self, session_id: str) -> None:
        await self._directory.delete(session_id)
        self._placements.pop(session_id, None)

    async def restore(self, session_id: str) -> SessionView:
        await self._placed(session_id)
        return await self._directory.view(session_id)

    async def server_status(self) -> ServerStatus:
        return await self._directory.server_status()

    async def settings(self) -> SessionSettings:
        return await self._directory.settings()

    # What the session's cell does

    async def update(self, session_id: str, changes: SessionChanges) -> SessionView:
        record = await self._with_cell(session_id, lambda feed: feed.port.change(session_id, changes))
        return SessionView(**dict(record), active=True)

    async def status(self, session_id: str) -> SessionStatus:
        status = await self._if_active(session_id, lambda feed: feed.port.status(session_id))
        return STATUS_STORED if status is None else status

    async def abort(self, session_id: str) -> bool:
        return bool(await self._if_active(session_id, lambda feed: feed.port.abort(session_id)))

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        return await self._with_cell(session_id, lambda feed: feed.port.summarize(session_id, messages, model))

    async def ask(self, session_id: str, query: Query) -> Answered:
        query = _identified(query)

        async def ended(_: int) -> Answered:
            return Answered("", None, "error", RunInterrupted(session_id))

        return await self._once(session_id, query, lambda feed: feed.port.ask(session_id, query), ended)

    async def begin(self, session_id: str, query: Query) -> int:
        query = _identified(query)

        async def begin(feed: CellFeed) -> int:
            return _seq(await feed.port.begin(session_id, query))

        return await self._once(session_id, query, begin, _itself)

    @contextlib.asynccontextmanager
    async def run(self, session_id: str, query: Query) -> AsyncIterator[AsyncGenerator[list[Frame]]]:
        """See SessionsRef.run."""
        query = _identified(query)

        async def begin(feed: CellFeed) -> Watcher:
            channel = feed.open(session_id)
            try:
                first = await feed.port.begin(session_id, query, feed.follower)
            except BaseException:
                feed.close(session_id, channel)
                raise
            return Watcher(self, session_id, _seq(first) - 1, feed, channel, first)

        async def interrupted(seq: int) -> Watcher:
            return Watcher(self, session_id, seq - 1)

        watcher = await self._once(session_id, query, begin, interrupted)
        try:
            async with contextlib.aclosing(watcher.run()) as frames:
                yield frames
        finally:
            watcher.leave()  # also where the generator was never begun

    @contextlib.asynccontextmanager
    async def watch(self, session_id: str, after_seq: int | None) -> AsyncIterator[AsyncGenerator[Watched]]:
        """See SessionsRef.watch."""
        watcher = Watcher(self, session_id, after_seq)
        try:
            await watcher.follow()
            status = await self.status(session_id)
            async with contextlib.aclosing(watcher.watch(status)) as items:
                yield items
        finally:
            watcher.leave()

    # Finding cells

    async def follow(self, session_id: str) -> tuple[CellFeed, Any, int]:
        """The feed of the session's cell, a new channel of it, and the seq of the newest event stored before it."""

        async def follow(feed: CellFeed) -> tuple[CellFeed, Any, int]:
            channel = feed.open(session_id)
            try:
                return feed, channel, await feed.port.follow(feed.follower, session_id)
            except BaseException:
                feed.close(session_id, channel)
                raise

        return await self._with_cell(session_id, follow)

    async def _with_cell(self, session_id: str, call: Callable[[CellFeed], Awaitable[T]]) -> T:
        """Has the session's cell do what may be repeated."""
        return await self._retried(lambda: self._attempt(session_id, call))

    async def _once(
        self,
        session_id: str,
        query: Query,
        call: Callable[[CellFeed], Awaitable[T]],
        begun: Callable[[int], Awaitable[T]],
    ) -> T:
        """Has the cell begin a run. When it dies meanwhile nobody knows whether that was before or after the run was
        stored, but the log does: then `begun`, with the seq of the run's user_message, says what it comes to."""

        async def attempt() -> T:
            try:
                return await self._attempt(session_id, call)
            except CellDied:
                await self._placed(session_id)  # from now on the dead cell stores nothing more
                seq = await self._seq_of(session_id, query.id)
                if seq is None:
                    raise
                return await begun(seq)

        return await self._retried(attempt)

    async def _attempt(self, session_id: str, call: Callable[[CellFeed], Awaitable[T]]) -> T:
        placement = await self._placed(session_id)
        try:
            return await call(self._feed(placement))
        except (SessionNotHere, CellDied):
            if self._placements.get(session_id) == placement:
                del self._placements[session_id]
            raise

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        deadline_s, delay_s = time.monotonic() + MOVE_TIMEOUT_S, 0.0
        while True:
            try:
                return await attempt()
            except (SessionNotHere, CellDied) as error:
                if time.monotonic() > deadline_s:
                    raise OrganismUnreachable(f"the session's cell is not to be had: {error}") from error
            await asyncio.sleep(delay_s)  # at once the first time: what was known of its place was old
            delay_s = min(2 * delay_s or FIRST_DELAY_S, MAX_DELAY_S)

    async def _if_active(self, session_id: str, call: Callable[[CellFeed], Awaitable[T]]) -> T | None:
        """Asks the session's cell; None where the session is only stored."""
        if session_id not in self._placements and not (await self._directory.view(session_id)).active:
            return None
        try:
            return await self._attempt(session_id, call)
        except (SessionNotHere, CellDied):
            if not (await self._directory.view(session_id)).active:
                return None
        return await self._with_cell(session_id, call)

    async def _placed(self, session_id: str) -> Placement:
        placement = self._placements.get(session_id)
        if placement is None:
            placement = await self._directory.place(session_id)
            if len(self._placements) >= MAX_PLACEMENTS:
                del self._placements[next(iter(self._placements))]
            self._placements[session_id] = placement
        return placement

    def _feed(self, placement: Placement) -> CellFeed:
        key = (placement.cell, placement.incarnation)
        feed = self._feeds.get(key)
        if feed is None or feed.is_over:
            self._feeds = {each: known for each, known in self._feeds.items() if not known.is_over}
            feed = self._feeds[key] = CellFeed(self._connect(placement), self._tasks)
        return feed

    async def _seq_of(self, session_id: str, event_id: str) -> int | None:
        """Of a stored event; None where it is not stored."""
        last_seq = (await self._directory.view(session_id)).last_seq
        for frame in reversed(await self._directory.events(session_id, max(0, last_seq - RECENT), RECENT)):
            if frame.type == "user_message" and orjson.loads(frame.body)["id"] == event_id:
                return frame.seq
        return None


def _identified(query: Query) -> Query:
    return query if query.id else query._replace(id=new_id())


async def _itself(seq: int) -> int:
    return seq


def _seq(stored: Frame) -> int:
    assert stored.seq is not None
    return stored.seq


def _log_failure(error: BaseException) -> None:
    logger.critical("a feed of session events failed", exc_info=error)
