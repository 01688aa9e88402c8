"""Sessions in a PostgreSQL database, for clusters: beside the log, or in a database of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

import orjson
from pydantic import ValidationError

from organism.sessions.events import Frame
from organism.sessions.records import SessionFilter, SessionRecord
from organism.storage.postgres_connection import PostgresStore, Statement
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.checks import check_commit, folded, is_session_id, search_text
from organism.storage.sql_files import load_statements

logger = logging.getLogger(__name__)

PACKAGE = "organism.storage.sessions"

SESSIONS_KEY = 2
"""Second key of the sessions' advisory lock."""


class PostgresSessionStorage:
    """Sessions in the schema `organism` of the database `url` (postgresql://user:password@host:port/database).

    timeout_s: for each read and each commit.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self._store = PostgresStore(url, "sessions", SESSIONS_KEY, PACKAGE, timeout_s)
        self._reads = load_statements("postgres_reads.sql", PACKAGE)
        self._writes = load_statements("postgres_writes.sql", PACKAGE)

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def commit(self, commit: SessionCommit) -> None:
        """One whose outcome was never learnt may be repeated: to write the same once more changes nothing."""
        check_commit(commit)
        await self._store.write(self._statements(commit))

    async def records(self, session_ids: list[str]) -> dict[str, SessionRecord]:
        known = {"session_ids": _known_ids(session_ids)}
        [rows] = await self._store.read((self._reads["records"], known))
        return {record.id: record for record in self._records_of(rows)}

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionRecord], int]:
        values = {name: value for name, value in where._asdict().items() if value is not None}
        if where.q is not None:
            values["q"] = folded(where.q)
        if where.owner is not None:
            values["owner"] = _owner_bytes(where.owner)
        if where.ids is not None:
            values["ids"] = _known_ids(where.ids)
        conditions = " AND ".join(self._reads[f"where_{name}"] for name in values) or "true"
        page = self._reads["sessions"].format(where=conditions), {**values, "limit": limit, "offset": offset}
        count = self._reads["count_sessions"].format(where=conditions), values
        rows, total = await self._store.read(page, count)
        return list(self._records_of(rows)), total[0][0]

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        frames: list[Frame] = []
        while len(frames) < limit:  # more than once only where events are damaged: a short page means the end
            wanted = limit - len(frames)
            rows = await self._event_rows("events", session_id, after_seq=after_seq, limit=wanted)
            frames += self._frames_of(session_id, rows)
            if len(rows) < wanted:
                break
            after_seq = rows[-1][0]
        return frames

    async def last_events(self, session_id: str, limit: int) -> list[Frame]:
        rows = await self._event_rows("last_events", session_id, limit=limit)
        return list(self._frames_of(session_id, reversed(rows)))

    async def _event_rows(self, name: str, session_id: str, **values: int) -> list[Any]:
        if not is_session_id(session_id):
            return []
        [rows] = await self._store.read((self._reads[name], {"session_id": session_id, **values}))
        return rows

    def _frames_of(self, session_id: str, rows: Iterable[Any]) -> Iterator[Frame]:
        for seq, type_, body, checksum in rows:
            if crc32(body) == checksum:
                yield Frame(session_id, seq, type_, body)
            else:
                logger.warning("%s: event %d of session %s cannot be read", self._store.place, seq, session_id)

    def _records_of(self, rows: Iterable[Any]) -> Iterator[SessionRecord]:
        for session_id, record in rows:
            try:
                yield SessionRecord.model_validate_json(record)
            except ValidationError as error:
                logger.warning("%s: the record of session %s cannot be read: %s", self._store.place, session_id, error)

    def _statements(self, commit: SessionCommit) -> list[Statement]:
        """A snapshot: nothing of the commit is needed afterwards."""
        deleted = [(session_id,) for session_id in commit.deleted]
        tables: list[tuple[str, list[Any]]] = [
            ("sessions", list({record.id: _record_row(record) for record in commit.records}.values())),
            ("events", [(*frame, crc32(frame.body)) for frame in commit.events]),
            ("deleted_sessions", deleted),
            ("deleted_events", deleted),
        ]
        return [(self._writes[name], tuple(map(list, zip(*rows, strict=True)))) for name, rows in tables if rows]


def _known_ids(session_ids: Iterable[str]) -> list[str]:
    return [session_id for session_id in session_ids if is_session_id(session_id)]


def _owner_bytes(owner: str | None) -> bytes | None:
    return None if owner is None else owner.encode(errors="surrogatepass")


def _record_row(record: SessionRecord) -> tuple[Any, ...]:
    tags = orjson.dumps([tag.replace("\0", "") for tag in record.tags or ()]).decode()
    body = record.model_dump_json().encode()
    return record.id, record.updated_at, record.is_running, search_text(record), tags, body, _owner_bytes(record.owner)
