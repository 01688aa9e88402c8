"""What every provider of session storage refuses, and how it searches."""

from __future__ import annotations

import re

from organism.errors import StorageError
from organism.sessions.records import SessionFilter, SessionRecord
from organism.storage.sessions.base import SessionCommit

_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def is_session_id(text: str) -> bool:
    """Whether a session can have this id, which may be part of a path."""
    return _SAFE_ID.fullmatch(text) is not None


def check_commit(commit: SessionCommit) -> None:
    """Refuses what is a mistake of the caller, before anything is written.

    Raises:
        StorageError: an id that may not be part of a path, an event that is never stored or of more than one line,
            or events of one session that are not in order.
    """
    ids = {record.id for record in commit.records}
    last_seqs: dict[str, int] = {}
    for frame in commit.events:
        session_id, seq, type_, body = frame
        if seq is None:
            raise StorageError(f"an event of type {type_} is never stored")
        if seq <= last_seqs.get(session_id, 0):
            raise StorageError(f"event {seq} of session {session_id} is not behind the one before it")
        if b"\n" in body:
            raise StorageError(f"event {seq} of session {session_id} has more than one line")
        last_seqs[session_id] = seq
    for session_id in ids.union(last_seqs, commit.deleted):
        if not is_session_id(session_id):
            raise StorageError(f"a session cannot have the id {session_id[:100]!r}")


def search_text(record: SessionRecord) -> str:
    """What `SessionFilter.q`, folded by `folded`, is searched in."""
    return folded("\n".join((record.name or "", record.id, *(record.tags or ()))))


def folded(text: str) -> str:
    """The text for comparisons regardless of case. Without NUL and lone surrogates, which not every medium holds."""
    return text.casefold().replace("\0", "").encode(errors="replace").decode()


def matches(record: SessionRecord, where: SessionFilter) -> bool:
    return (
        (where.tag is None or where.tag in (record.tags or ()))
        and (where.is_running is None or where.is_running == record.is_running)
        and (where.owner is None or where.owner == record.owner)
        and (where.ids is None or record.id in where.ids)
        and (where.q is None or folded(where.q) in search_text(record))
    )


def newest_first(record: SessionRecord) -> tuple[int, str]:
    """The sort key of a list of sessions."""
    return -record.updated_at, record.id
