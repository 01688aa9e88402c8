"""Sessions in the memory of the process: for tests, and for organisms whose sessions may go with them."""

from __future__ import annotations

from itertools import islice

from organism.errors import StorageUnavailable
from organism.sessions.events import Frame
from organism.sessions.records import SessionFilter, SessionRecord
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.checks import check_commit, matches, newest_first


class MemorySessionStorage:
    """Records and events in dicts. They outlive `close`, so that a second `open` finds them again, as files would be.

    record_by_id, frames: by session id; the frames of a session by seq, in order. commits: how many were made.
    `failing`: a text here makes every method raise StorageUnavailable with it, None heals it.
    """

    def __init__(self) -> None:
        self.record_by_id: dict[str, SessionRecord] = {}
        self.frames: dict[str, dict[int, Frame]] = {}
        self.commits = 0
        self.failing: str | None = None

    async def open(self) -> None:
        self._check_medium()

    async def close(self) -> None:
        pass

    async def commit(self, commit: SessionCommit) -> None:
        self._check_medium()
        check_commit(commit)
        for record in commit.records:
            self.record_by_id[record.id] = record
        for frame in commit.events:
            assert frame.seq is not None, "checked"
            self.frames.setdefault(frame.session_id, {}).setdefault(frame.seq, frame)
        for session_id in commit.deleted:
            self.record_by_id.pop(session_id, None)
            self.frames.pop(session_id, None)
        self.commits += 1

    async def records(self, session_ids: list[str]) -> dict[str, SessionRecord]:
        self._check_medium()
        return {id_: self.record_by_id[id_] for id_ in session_ids if id_ in self.record_by_id}

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionRecord], int]:
        self._check_medium()
        matching = sorted((each for each in self.record_by_id.values() if matches(each, where)), key=newest_first)
        return matching[offset : offset + limit], len(matching)

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        self._check_medium()
        frames = self.frames.get(session_id, {})
        return list(islice((frame for seq, frame in frames.items() if seq > after_seq), limit))

    async def last_events(self, session_id: str, limit: int) -> list[Frame]:
        self._check_medium()
        frames = self.frames.get(session_id, {})
        return list(islice(frames.values(), max(0, len(frames) - limit), None))

    def _check_medium(self) -> None:
        if self.failing is not None:
            raise StorageUnavailable(self.failing)
