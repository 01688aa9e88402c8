"""Storage in one SQLite file, the embedded default: one writer thread, readers that never wait for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson

from organism.messages import DeadLetter, Message
from organism.storage.base import Commit, MessageFilter, Pending, ThreadFilter, Totals
from organism.storage.continuity import check_continues
from organism.storage.file_lock import FileLock
from organism.storage.sql_files import load_migrations, load_statements
from organism.storage.sqlite_batch import BatchWriter, Statement
from organism.storage.sqlite_connection import READER_PRAGMAS, WRITER_PRAGMAS, ConnectionThread, connect, translated
from organism.storage.sqlite_rows import (
    dead_letter_from,
    message_from,
    pending_from,
    read_entries,
    read_number,
    thread_from,
)
from organism.storage.sqlite_schema import migrate
from organism.threads import Thread

T = TypeVar("T")


class SqliteStorage:
    """A log in the file `path` (its folder is made), with `-wal`, `-shm` and `.lock` files beside it.

    Three threads, a connection each: the writer; the reader of what the pump needs to go on; the lister of pages with
    totals, which may have to count a million rows while the pump must not wait.

    pragmas: further PRAGMAs of the writer, such as `max_page_count` to bound the file; read at each (re)opening.
    """

    def __init__(self, path: Path, *, pragmas: Mapping[str, str | int] | None = None) -> None:
        self.path = path
        self.pragmas = dict(pragmas or {})
        self._lock = FileLock(path)
        self._batch = BatchWriter()
        self._reads = load_statements("reads.sql")
        self._last_seq = 0
        self._threads: list[ConnectionThread] = []

    async def open(self) -> Totals:
        with translated(self.path):
            await asyncio.to_thread(self.path.parent.mkdir, parents=True, exist_ok=True)
            self._lock.acquire()
        self._writer = self._thread("storage-writer", self._connect_writer)
        self._reader = self._thread("storage-reader", self._connect_reader)
        self._lister = self._thread("storage-lister", self._connect_reader)
        self._threads = [self._writer, self._reader, self._lister]
        try:
            await self._writer.run(lambda connection: migrate(connection, load_migrations()))
            totals = await self.totals()
        except BaseException:
            await self.close()
            raise
        self._last_seq = totals.last_seq
        return totals

    async def close(self) -> None:
        threads, self._threads = self._threads, []
        for thread in reversed(threads):  # the writer last: the last connection to go clears the write-ahead log
            await thread.close()
        self._lock.release()

    async def commit(self, commit: Commit) -> None:
        check_continues(commit.messages, self._last_seq)
        statements = self._batch.statements(commit)  # here and at once: threads change while the writer writes
        await self._writer.run(lambda connection: _write(connection, statements))
        self._last_seq += len(commit.messages)

    async def totals(self) -> Totals:
        return await self._reader.run(self._count)

    async def queued(self, recipient: str, after_seq: int, limit: int) -> list[Pending]:
        parameters = {"recipient": recipient, "after_seq": after_seq, "limit": limit}
        return await self._reader.run(self._list("queued", pending_from, parameters))

    async def queued_in_thread(self, thread_id: str) -> list[Pending]:
        return await self._reader.run(self._list("queued_in_thread", pending_from, {"thread_id": thread_id}))

    async def threads_by_id(self, thread_ids: list[str]) -> dict[str, Thread]:
        parameters = {"thread_ids": _json(thread_ids)}
        found = await self._reader.run(self._list("threads_by_id", thread_from, parameters))
        return {thread.id: thread for thread in found}

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]:
        parameters = {"status": where.status, "agent": where.agent, "since_ms": where.since_ms}
        conditions = [f"where_thread_{name}" for name, value in parameters.items() if value is not None]
        clauses = {"where": self._conditions(conditions)}
        page = self._list("threads", thread_from, {**parameters, "limit": limit, "offset": offset}, **clauses)
        count = self._number("count_threads", parameters, **clauses)
        return await self._lister.run(lambda connection: (page(connection), count(connection)))

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]:
        page = self._message_page(where, limit, offset, newest_first)
        count = self._message_count(where)
        return await self._lister.run(lambda connection: (page(connection), count(connection)))

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]:
        return await self._reader.run(self._message_page(where, limit, 0, newest_first=False))

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        parameters = {"agent": agent, "limit": limit, "offset": offset}
        page = self._list("dead_letters", dead_letter_from, parameters)
        count = self._number("count_dead_letters", {"agent": agent})
        return await self._lister.run(lambda connection: (page(connection), count(connection)))

    async def dead_letter(self, message_id: str) -> DeadLetter | None:
        found = await self._reader.run(self._list("dead_letter", dead_letter_from, {"message_id": message_id}))
        return found[0] if found else None

    def _thread(self, name: str, connect_it: Callable[[], sqlite3.Connection]) -> ConnectionThread:
        return ConnectionThread(name, self.path, connect_it)

    def _connect_writer(self) -> sqlite3.Connection:
        return connect(self.path, "rwc", {**WRITER_PRAGMAS, **self.pragmas})

    def _connect_reader(self) -> sqlite3.Connection:
        return connect(self.path, "ro", READER_PRAGMAS)

    def _count(self, connection: sqlite3.Connection) -> Totals:
        queue_sizes: list[Any] = read_entries(connection, self._reads["queue_sizes"], {})
        return Totals(
            last_seq=read_number(connection, self._reads["last_seq"], {}),
            queued=dict(queue_sizes),
            active_threads=read_number(connection, self._reads["active_threads"], {}),
            settings=dict(read_entries(connection, self._reads["settings"], {})),
        )

    def _message_page(
        self, where: MessageFilter, limit: int, offset: int, newest_first: bool
    ) -> Callable[[sqlite3.Connection], list[Message]]:
        clauses = self._message_clauses(where) | {"order": "DESC" if newest_first else "ASC"}
        parameters = {**_filter_parameters(where), "limit": limit, "offset": offset}
        return self._list("messages", message_from, parameters, **clauses)

    def _message_count(self, where: MessageFilter) -> Callable[[sqlite3.Connection], int]:
        if where == MessageFilter():  # seq has no gaps, so that the last one is also their number
            return self._number("last_seq", {})
        return self._number("count_messages", _filter_parameters(where), **self._message_clauses(where))

    def _message_clauses(self, where: MessageFilter) -> dict[str, str]:
        conditions = [f"where_{name}" for name, value in where._asdict().items() if value not in (None, ())]
        index = "INDEXED BY messages_by_thread" if where.threads else ""
        return {"where": self._conditions(conditions), "index": index}

    def _conditions(self, names: list[str]) -> str:
        return " AND ".join(self._reads[name] for name in names) or "true"

    def _list(
        self, name: str, make: Callable[[list[Any]], T], parameters: Mapping[str, Any], **clauses: str
    ) -> Callable[[sqlite3.Connection], list[T]]:
        query = self._query(name, clauses)
        return lambda connection: [make(entry) for entry in read_entries(connection, query, parameters)]

    def _number(self, name: str, parameters: Mapping[str, Any], **clauses: str) -> Callable[[sqlite3.Connection], int]:
        query = self._query(name, clauses)
        return lambda connection: read_number(connection, query, parameters)

    def _query(self, name: str, clauses: Mapping[str, str]) -> str:
        fields = {"message": self._reads["message"], "thread": self._reads["thread"]}
        return self._reads[name].format(**fields, **clauses)


def _write(connection: sqlite3.Connection, statements: list[Statement]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for text, parameters in statements:
        connection.execute(text, parameters)
    connection.execute("COMMIT")


def _filter_parameters(where: MessageFilter) -> dict[str, Any]:
    lists = {name: _json(getattr(where, name)) for name in ("agents", "threads", "payload_types")}
    return where._asdict() | lists


def _json(values: list[str] | tuple[str, ...]) -> str:
    return orjson.dumps(values).decode()
