"""One long poll at one session cell brings the events of all sessions that somebody in this process watches."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from organism.errors import OrganismError
from organism.messages import new_id
from organism.sessions.events import Frame
from organism.sessions.wire import FeedBatch, SessionCellPort, SessionNotHere, SessionStatus
from organism.tasks import Tasks
from organism.wire import CellDied

POLL_S = 10.0
"""How long a poll waits at the cell when nothing happens."""

LINGER_S = 5.0
"""A session is followed this much longer than it is watched: the next stream on it costs two calls less."""

RETRY_S = 0.2

MAX_WAITING = 20_000
"""Frames that wait for one watcher; one that is slower reads the stored events instead."""

logger = logging.getLogger(__name__)


class Taken(NamedTuple):
    """What has gathered for a watcher. is_lost: nothing comes any more, and something may be missing."""

    frames: list[Frame]
    status: SessionStatus | None
    is_lost: bool


class Channel:
    """Where the events of a session wait for one watcher."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._status: SessionStatus | None = None
        self._is_lost = False
        self._news = asyncio.Event()

    def offer(self, frames: list[Frame]) -> None:
        if len(self._frames) + len(frames) > MAX_WAITING:
            self.lose()
        if not self._is_lost:
            self._frames.extend(frames)
            self._news.set()

    def offer_status(self, status: SessionStatus) -> None:
        self._status = status
        self._news.set()

    def lose(self) -> None:
        self._is_lost = True
        self._news.set()

    async def take(self) -> Taken:
        """Everything since the last time; waits until there is something."""
        await self._news.wait()
        self._news.clear()
        taken = Taken(self._frames, self._status, self._is_lost)
        self._frames, self._status = [], None
        return taken


class CellFeed:
    """What this process hears of one cell. `is_over` when the cell has died: it must be replaced by a new feed then."""

    def __init__(self, port: SessionCellPort, tasks: Tasks) -> None:
        self.port = port
        self.follower = new_id()
        self.is_over = False
        self._tasks = tasks
        self._channels: dict[str, set[Channel]] = {}
        self._unwatched: dict[str, float] = {}  # since when
        self._polling: asyncio.Task[None] | None = None

    def open(self, session_id: str) -> Channel:
        """A channel for what is followed at the cell from now on, by `follow` or by `begin`."""
        channel = Channel()
        self._channels.setdefault(session_id, set()).add(channel)
        self._unwatched.pop(session_id, None)
        if self._polling is None or self._polling.done():
            self._polling = self._tasks.spawn(self._poll(), "feed of a session cell")
        return channel

    def close(self, session_id: str, channel: Channel) -> None:
        channels = self._channels.get(session_id)
        if channels is None or channel not in channels:
            return  # it was lost meanwhile
        channels.discard(channel)
        if not channels:
            self._unwatched[session_id] = asyncio.get_running_loop().time()

    def lose(self, session_id: str) -> None:
        """Tells all who watch the session that nothing more comes from here."""
        self._unwatched.pop(session_id, None)
        for channel in self._channels.pop(session_id, ()):
            channel.lose()

    async def _poll(self) -> None:
        cursor = 0
        while self._channels:
            try:
                batch = await self.port.poll(self.follower, cursor, POLL_S)
            except CellDied:
                break
            except OrganismError as error:
                logger.warning("events of a session cell are late: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            if batch.cursor < cursor:  # the cell has forgotten us
                self._lose_all()
            cursor = batch.cursor
            self._hand_out(batch)
            await self._leave()
        else:
            return
        self.is_over = True
        self._lose_all()

    def _hand_out(self, batch: FeedBatch) -> None:
        by_session: dict[str, list[Frame]] = {}
        for frame in batch.frames:
            by_session.setdefault(frame.session_id, []).append(frame)
        for session_id, frames in by_session.items():
            for channel in self._channels.get(session_id, ()):
                channel.offer(frames)
        for session_id, status in batch.statuses:
            for channel in self._channels.get(session_id, ()):
                channel.offer_status(status)
        for session_id in batch.lost:
            self.lose(session_id)

    def _lose_all(self) -> None:
        for session_id in list(self._channels):
            self.lose(session_id)

    async def _leave(self) -> None:
        """Follows no longer what nobody has watched for a while."""
        now_s = asyncio.get_running_loop().time()
        for session_id in [key for key, since_s in self._unwatched.items() if now_s - since_s > LINGER_S]:
            del self._unwatched[session_id]
            del self._channels[session_id]
            try:
                await self.port.unfollow(self.follower, session_id)
            except (SessionNotHere, CellDied):
                continue
            if session_id in self._channels:  # watched again meanwhile, and followed perhaps before it was unfollowed
                self.lose(session_id)
