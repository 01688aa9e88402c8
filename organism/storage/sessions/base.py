"""The storage seam of sessions: their records and their events. One writer: the pump.

All providers pass tests/contracts/test_session_storage.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from organism.sessions.events import Frame
from organism.sessions.records import SessionFilter, SessionRecord


@dataclass(slots=True)
class SessionCommit:
    """Everything that becomes durable together, or not at all (but for `file`, which see).

    records: to insert or replace, whole. events: new ones, `seq` rising without gaps within each session; one whose
    `(session_id, seq)` is stored already is ignored, so that a commit can be repeated. deleted: ids of sessions that
    go with all their events.
    """

    records: list[SessionRecord] = field(default_factory=list)
    events: list[Frame] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)


class SessionStorage(Protocol):
    """A provider. Every method raises StorageUnavailable when the medium fails for now; nothing was written then.

    A stored record or event that cannot be read costs just that one, and a warning in the log.
    """

    async def open(self) -> None:
        """Opens or creates the store and brings its schema up to date.

        Raises:
            StorageLocked, StorageVersionError, StorageUnavailable
        """
        ...

    async def close(self) -> None:
        """Finishes what is being written. Safe to call twice."""
        ...

    async def commit(self, commit: SessionCommit) -> None:
        """Writes all of `commit` durably: after return it survives a power cut. Called by one task at a time."""
        ...

    async def records(self, session_ids: list[str]) -> dict[str, SessionRecord]:
        """Those that exist."""
        ...

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionRecord], int]:
        """One page, newest `updated_at` first (then id), and how many match in total."""
        ...

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        """The first `limit` events with `seq > after_seq`, in order; none for an unknown session."""
        ...

    async def last_events(self, session_id: str, limit: int) -> list[Frame]:
        """The newest `limit` events, in order."""
        ...
