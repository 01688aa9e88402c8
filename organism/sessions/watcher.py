"""Follows one session through moves, deaths of its cell and restarts of the pump, without a gap or a double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from organism.errors import OrganismUnreachable, Overloaded, SessionNotFound, StorageUnavailable
from organism.sessions.cell_feed import CellFeed, Channel
from organism.sessions.events import Frame
from organism.sessions.ref import Watched
from organism.sessions.wire import SessionStatus

PAGE = 1000
FIRST_DELAY_S = 0.05
MAX_DELAY_S = 2.0


class Source(Protocol):
    """What a watcher needs of the SessionService."""

    async def follow(self, session_id: str) -> tuple[CellFeed, Channel, int]: ...

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]: ...


class Watcher:
    """One reader of one session's events.

    Args:
        position: seq of the event behind which to begin; None, or one that is still to come, begins with what happens
            next.
        feed, channel: where it follows already. first: the event at `position + 1`, where it is known already.
    """

    def __init__(
        self,
        source: Source,
        session_id: str,
        position: int | None,
        feed: CellFeed | None = None,
        channel: Channel | None = None,
        first: Frame | None = None,
    ) -> None:
        self._source = source
        self._session_id = session_id
        self._position = position
        self._feed = feed
        self._channel = channel
        self._first = first
        self._known_seq = 0  # the newest event that was stored when it began to follow

    async def follow(self) -> None:
        """Begins to follow. Raises SessionNotFound, TooManySessions, StorageUnavailable, OrganismUnreachable."""
        self._feed, self._channel, self._known_seq = await self._source.follow(self._session_id)
        if self._position is None or self._position > self._known_seq:
            self._position = self._known_seq  # waiting for the seq that a client has made up would hide events from it

    async def watch(self, status: SessionStatus) -> AsyncGenerator[Watched]:
        """`status` first, then everything, until the session is deleted or the generator closed."""
        try:
            yield Watched([], status)
            async for item in self._items():
                yield item
        except SessionNotFound:
            yield Watched([], None, is_deleted=True)
        finally:
            self.leave()

    async def run(self) -> AsyncGenerator[list[Frame]]:
        """The events from `position` to the next agent_run_end."""
        has_begun = False
        try:
            if self._first is not None:
                yield [self._first]
            async for frames, _, _ in self._items():
                if not has_begun:
                    frames = _from_first_stored(frames)
                    has_begun = bool(frames)
                    if self._first is not None:
                        del frames[:1]
                for index, frame in enumerate(frames):
                    if frame.type == "agent_run_end":
                        yield frames[: index + 1]
                        return
                if frames:
                    yield frames
        except SessionNotFound:
            return
        finally:
            self.leave()

    async def _items(self) -> AsyncGenerator[Watched]:
        while True:
            if self._channel is None:
                await self._follow_again()
            while self._position is not None and self._position < self._known_seq:
                frames = await self._stored(self._position)
                if not frames:
                    break
                yield Watched(self._new(frames))
            assert self._channel is not None
            taken = await self._channel.take()
            if taken.is_lost:
                self.leave()
                continue
            frames = self._new(taken.frames)
            if frames or taken.status is not None:
                yield Watched(frames, taken.status)

    async def _stored(self, after_seq: int) -> list[Frame]:
        delay_s = FIRST_DELAY_S
        while True:
            try:
                return await self._source.events(self._session_id, after_seq, PAGE)
            except (OrganismUnreachable, StorageUnavailable):
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, MAX_DELAY_S)

    def _new(self, frames: list[Frame]) -> list[Frame]:
        """Those not seen yet; deltas are always new."""
        position = self._position or 0
        frames = [frame for frame in frames if frame.seq is None or frame.seq > position]
        for frame in reversed(frames):
            if frame.seq is not None:
                self._position = frame.seq
                break
        return frames

    async def _follow_again(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            try:
                await self.follow()
            except (OrganismUnreachable, StorageUnavailable, Overloaded):
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, MAX_DELAY_S)
            else:
                return

    def leave(self) -> None:
        """Follows no more."""
        if self._feed is not None and self._channel is not None:
            self._feed.close(self._session_id, self._channel)
        self._feed = self._channel = None


def _from_first_stored(frames: list[Frame]) -> list[Frame]:
    """Deltas before the run's first event belong to an earlier run."""
    return next((frames[index:] for index, frame in enumerate(frames) if frame.seq is not None), [])
