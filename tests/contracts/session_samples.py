"""Session records, events and commits for tests of the seam of session storage."""

from __future__ import annotations

from typing import Any

from organism.messages import new_id
from organism.sessions.events import Frame, UserMessage, encode
from organism.sessions.records import SessionRecord
from organism.storage.sessions.base import SessionCommit

NOW_MS = 1_763_689_052_123


def record_of(session_id: str = "session", **fields: Any) -> SessionRecord:
    known = {"created_at": NOW_MS, "updated_at": NOW_MS, "agent": "assistant", "working_directory": session_id}
    return SessionRecord(id=session_id, **{**known, **fields})


def frame_of(seq: int, session_id: str = "session", text: str = "hello") -> Frame:
    """A user message."""
    return encode(session_id, UserMessage(id=new_id(), timestamp=NOW_MS + seq, seq=seq, content=text))


def frames_of(session_id: str, first: int, last: int) -> list[Frame]:
    """Events `first` to `last`, both included."""
    return [frame_of(seq, session_id) for seq in range(first, last + 1)]


def session_of(session_id: str, count: int, **fields: Any) -> SessionCommit:
    """A session and its first `count` events."""
    return SessionCommit([record_of(session_id, last_seq=count, **fields)], frames_of(session_id, 1, count))
