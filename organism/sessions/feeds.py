"""Who follows the sessions of a cell, and what has gathered for them since they last asked."""

from __future__ import annotations

import asyncio

from organism.sessions.events import Frame
from organism.sessions.wire import FeedBatch, SessionStatus

MAX_FRAMES = 20_000
MAX_BYTES = 32_000_000
"""What may wait for one follower. One that is slower loses its sessions: it reads stored events and follows again."""

FORGOTTEN_AFTER_S = 60.0
"""Without a poll."""


class _Follower:
    def __init__(self, now_s: float) -> None:
        self.sessions: set[str] = set()
        self.frames: list[Frame] = []
        self.frame_bytes = 0
        self.statuses: dict[str, SessionStatus] = {}
        self.lost: list[str] = []
        self.unacknowledged: FeedBatch | None = None
        self.cursor = 0
        self.news = asyncio.Event()
        self.polled_s = now_s

    def has_unacknowledged(self, cursor: int) -> bool:
        return self.unacknowledged is not None and cursor < self.unacknowledged.cursor

    def next_batch(self) -> FeedBatch:
        self.unacknowledged = None
        if not (self.frames or self.statuses or self.lost):
            return FeedBatch(self.cursor, [], [], [])
        self.cursor += 1
        batch = FeedBatch(self.cursor, self.frames, self.lost, list(self.statuses.items()))
        self.frames, self.lost, self.statuses, self.frame_bytes = [], [], {}, 0
        self.unacknowledged = batch
        return batch


class Feeds:
    """All followers of one cell."""

    def __init__(self) -> None:
        self._followers: dict[str, _Follower] = {}
        self._by_session: dict[str, set[_Follower]] = {}

    def is_followed(self, session_id: str) -> bool:
        return session_id in self._by_session

    def follow(self, name: str, session_id: str) -> None:
        follower = self._follower(name)
        follower.sessions.add(session_id)
        self._by_session.setdefault(session_id, set()).add(follower)

    def unfollow(self, name: str, session_id: str) -> None:
        follower = self._followers.get(name)
        if follower is not None:
            self._part(follower, session_id)

    def publish(self, session_id: str, frames: list[Frame]) -> None:
        size = sum([len(frame.body) for frame in frames])
        for follower in tuple(self._by_session.get(session_id, ())):
            follower.frames.extend(frames)
            follower.frame_bytes += size
            follower.news.set()
            if len(follower.frames) > MAX_FRAMES or follower.frame_bytes > MAX_BYTES:
                self._drop_backlog(follower)

    def publish_status(self, session_id: str, status: SessionStatus) -> None:
        for follower in self._by_session.get(session_id, ()):
            follower.statuses[session_id] = status
            follower.news.set()

    def lose(self, session_id: str) -> None:
        """The session leaves the cell: all who follow it are told."""
        for follower in tuple(self._by_session.get(session_id, ())):
            self._part(follower, session_id)
            follower.lost.append(session_id)
            follower.news.set()

    async def poll(self, name: str, cursor: int, timeout_s: float) -> FeedBatch:
        """See SessionCellPort.poll."""
        if cursor > 0 and name not in self._followers:
            return FeedBatch(0, [], [], [])
        follower = self._follower(name)
        follower.polled_s = asyncio.get_running_loop().time()
        if not follower.has_unacknowledged(cursor) and not follower.news.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await follower.news.wait()
            except TimeoutError:
                pass
            follower.polled_s = asyncio.get_running_loop().time()
        if follower.has_unacknowledged(cursor):  # its answer was lost, or another poll of this follower got it
            assert follower.unacknowledged is not None
            return follower.unacknowledged
        follower.news.clear()
        return follower.next_batch()

    def forget_silent(self) -> None:
        """Forgets followers that have not polled for long: their process is gone."""
        now_s = asyncio.get_running_loop().time()
        for name, follower in list(self._followers.items()):
            if now_s - follower.polled_s > FORGOTTEN_AFTER_S:
                for session_id in list(follower.sessions):
                    self._part(follower, session_id)
                del self._followers[name]

    def _follower(self, name: str) -> _Follower:
        follower = self._followers.get(name)
        if follower is None:
            follower = self._followers[name] = _Follower(asyncio.get_running_loop().time())
        return follower

    def _part(self, follower: _Follower, session_id: str) -> None:
        follower.sessions.discard(session_id)
        followers = self._by_session.get(session_id, set())
        followers.discard(follower)
        if not followers:
            self._by_session.pop(session_id, None)

    def _drop_backlog(self, follower: _Follower) -> None:
        lost = list(follower.sessions)
        for session_id in lost:
            self._part(follower, session_id)
        follower.lost.extend(lost)
        follower.frames, follower.frame_bytes, follower.statuses = [], 0, {}
