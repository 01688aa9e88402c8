"""Sessions in one SQLite file, the embedded default. Like the log's, it is owned by a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from organism.errors import StorageError
from organism.sessions.events import Frame
from organism.sessions.records import SessionFilter, SessionRecord
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.checks import check_commit, folded, is_session_id, search_text
from organism.storage.sql_files import load_statements
from organism.storage.sqlite_client import ProcessEnded
from organism.storage.sqlite_file import Query, SqliteFile
from organism.storage.sqlite_rows import entries_of
from organism.storage.sqlite_server import LIST, READ, Table

logger = logging.getLogger(__name__)

PACKAGE = "organism.storage.sessions"

WRITE_ATTEMPTS = 3
"""Of a commit whose process was killed: only when all were it is not known whether the last one was written."""


class SqliteSessionStorage:
    """Sessions in the file `path` (its folder is made), with `-wal`, `-shm` and `.lock` files beside it.

    pragmas: further PRAGMAs of the writer, such as `max_page_count` to bound the file.
    """

    def __init__(self, path: Path, *, pragmas: Mapping[str, str | int] | None = None) -> None:
        self.path = path
        self._file = SqliteFile(path, PACKAGE, pragmas)
        self._reads = load_statements("reads.sql", PACKAGE)

    @property
    def pid(self) -> int | None:
        """Of the process that owns the file, where it runs."""
        return self._file.pid

    async def open(self) -> None:
        await self._file.lock()
        try:
            await self._file.settle()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._file.close()

    async def commit(self, commit: SessionCommit) -> None:
        check_commit(commit)
        tables = _tables_of(commit)
        for _ in range(WRITE_ATTEMPTS - 1):
            try:
                return await self._file.write(None, tables)
            except ProcessEnded:  # before or after it was written? To write the same once more changes nothing
                continue
        return await self._file.write(None, tables)

    async def records(self, session_ids: list[str]) -> dict[str, SessionRecord]:
        known = {"session_ids": _known_ids(session_ids)}
        (answer,) = await self._file.ask(READ, [(self._reads["records"], known)])
        return {record.id: record for record in self._records_of(answer)}

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionRecord], int]:
        values = {name: value for name, value in where._asdict().items() if value is not None}
        if where.q is not None:
            values["q"] = folded(where.q)
        if where.ids is not None:
            values["ids"] = _known_ids(where.ids)
        conditions = " AND ".join(self._reads[f"where_{name}"] for name in values) or "true"
        page = self._reads["sessions"].format(where=conditions), {**values, "limit": limit, "offset": offset}
        count = self._reads["count_sessions"].format(where=conditions), values
        answer, total = await self._file.ask(LIST, [page, count])
        return list(self._records_of(answer)), entries_of(total)[0][0]

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        frames: list[Frame] = []
        while len(frames) < limit:  # more than once only where events are damaged: a short page means the end
            wanted = limit - len(frames)
            entries = await self._entries("events", session_id, after_seq=after_seq, limit=wanted)
            frames += self._frames_of(session_id, entries)
            if len(entries) < wanted:
                break
            after_seq = entries[-1][0]
        return frames

    async def last_events(self, session_id: str, limit: int) -> list[Frame]:
        return list(self._frames_of(session_id, await self._entries("last_events", session_id, limit=limit)))

    async def _entries(self, name: str, session_id: str, **values: int) -> list[Any]:
        if not is_session_id(session_id):
            return []
        query: Query = self._reads[name], {"session_id": session_id, **values}
        (answer,) = await self._file.ask(READ, [query])
        return entries_of(answer)

    def _frames_of(self, session_id: str, entries: list[Any]) -> Iterable[Frame]:
        for entry in entries:
            if len(entry) == 3:
                seq, type_, body = entry
                yield Frame(session_id, seq, type_, body.encode())
            else:
                logger.warning("%s: event %d of session %s cannot be read", self.path, entry[0], session_id)

    def _records_of(self, answer: str) -> Iterable[SessionRecord]:
        for session_id, text in entries_of(answer):
            try:
                yield SessionRecord.model_validate_json(text)
            except ValidationError as error:
                logger.warning("%s: the record of session %s cannot be read: %s", self.path, session_id, error)


def _tables_of(commit: SessionCommit) -> list[Table]:
    """All that `commit` writes: a snapshot, nothing of it is needed afterwards."""
    deleted = [(session_id,) for session_id in commit.deleted]
    tables: list[tuple[str, list[Any]]] = [
        ("sessions", [_record_row(record) for record in commit.records]),
        ("events", [_event_row(frame) for frame in commit.events]),
        ("deleted_sessions", deleted),
        ("deleted_events", deleted),
    ]
    return [(table, len(rows[0]), list(chain.from_iterable(rows))) for table, rows in tables if rows]


def _known_ids(session_ids: Iterable[str]) -> str:
    return orjson.dumps([session_id for session_id in session_ids if is_session_id(session_id)]).decode()


def _record_row(record: SessionRecord) -> tuple[str | int | None, ...]:
    is_running, body = int(record.is_running), record.model_dump_json()
    return record.id, record.updated_at, is_running, search_text(record), body, record.owner


def _event_row(frame: Frame) -> tuple[Any, ...]:
    try:
        return frame.session_id, frame.seq, frame.type, frame.body.decode()
    except UnicodeDecodeError as error:
        raise StorageError(f"event {frame.seq} of session {frame.session_id} is no UTF-8 text") from error
