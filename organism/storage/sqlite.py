"""Storage in one SQLite file, the embedded default. The file is owned by a process of its own (sqlite_server.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson

from organism.errors import StorageError
from organism.messages import DeadLetter, Message
from organism.storage.base import Commit, MessageFilter, Pending, ThreadFilter, Totals
from organism.storage.continuity import check_continues
from organism.storage.sql_files import LOG_PACKAGE, load_statements
from organism.storage.sqlite_batch import tables_of
from organism.storage.sqlite_client import ProcessEnded
from organism.storage.sqlite_file import Query, SqliteFile
from organism.storage.sqlite_rows import dead_letter_from, entries_of, message_from, pending_from, thread_from
from organism.storage.sqlite_server import LIST, READ, Table
from organism.threads import Thread

T = TypeVar("T")


class SqliteStorage:
    """A log in the file `path` (its folder is made), with `-wal`, `-shm` and `.lock` files beside it.

    pragmas: further PRAGMAs of the writer, such as `max_page_count` to bound the file.
    """

    def __init__(self, path: Path, *, pragmas: Mapping[str, str | int] | None = None) -> None:
        self.path = path
        self._file = SqliteFile(path, LOG_PACKAGE, pragmas)
        self._reads = load_statements("reads.sql")
        self._last_seq = 0
        self._commits = 0
        self._unsure = True

    @property
    def pid(self) -> int | None:
        """Of the process that owns the file, where it runs."""
        return self._file.pid

    async def open(self) -> Totals:
        await self._file.lock()
        try:
            await self._take_stock()
            return await self.totals()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._file.close()

    async def commit(self, commit: Commit) -> None:
        tables = tables_of(commit)  # before the first await: threads change while they are written
        if self._unsure:
            await self._take_stock()
        check_continues(commit.messages, self._last_seq)
        number, last_seq = self._commits + 1, self._last_seq + len(commit.messages)
        self._unsure = True  # until an answer says whether it was written; the caller may also be cancelled meanwhile
        try:
            await self._write(number, tables)
        except StorageError as error:
            self._unsure = isinstance(error, ProcessEnded)
            raise
        self._commits, self._last_seq, self._unsure = number, last_seq, False

    async def totals(self) -> Totals:
        queries = [(self._reads[name], {}) for name in ("last_seq", "queue_sizes", "active_threads", "settings")]
        last_seq, queue_sizes, active_threads, settings = map(entries_of, await self._file.ask(READ, queries))
        return Totals(last_seq[0][0], dict(queue_sizes), active_threads[0][0], dict(settings))

    async def queued(self, recipient: str, after_seq: int, limit: int) -> list[Pending]:
        query = self._query("queued", recipient=recipient, after_seq=after_seq, limit=limit)
        return await self._read(pending_from, query)

    async def queued_in_thread(self, thread_id: str) -> list[Pending]:
        return await self._read(pending_from, self._query("queued_in_thread", thread_id=thread_id))

    async def threads_by_id(self, thread_ids: list[str]) -> dict[str, Thread]:
        found = await self._read(thread_from, self._query("threads_by_id", thread_ids=_json(thread_ids)))
        return {thread.id: thread for thread in found}

    async def threads(self, where: ThreadFilter, limit: int, offset: int) -> tuple[list[Thread], int]:
        values = _filter_values(where)
        clauses = {"where": self._conditions("thread", values)}
        page = self._query("threads", clauses, **values, limit=limit, offset=offset)
        return await self._list(thread_from, page, self._query("count_threads", clauses, **values))

    async def messages(
        self, where: MessageFilter, limit: int, offset: int = 0, newest_first: bool = False
    ) -> tuple[list[Message], int]:
        page = self._message_page(where, limit, offset, newest_first)
        return await self._list(message_from, page, self._message_count(where))

    async def message_page(self, where: MessageFilter, limit: int) -> list[Message]:
        may_be_long = (where.agents or where.payload_types or where.since_ms is not None) and not where.threads
        page = self._message_page(where, limit, offset=0, newest_first=False)
        return await self._read(message_from, page, LIST if may_be_long else READ)

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        page = self._query("dead_letters", agent=agent, limit=limit, offset=offset)
        return await self._list(dead_letter_from, page, self._query("count_dead_letters", agent=agent))

    async def dead_letter(self, message_id: str) -> DeadLetter | None:
        found = await self._read(dead_letter_from, self._query("dead_letter", message_id=message_id))
        return found[0] if found else None

    async def _write(self, number: int, tables: list[Table]) -> None:
        try:
            await self._file.write(number, tables)
        except ProcessEnded:  # before or after it was written?
            await self._take_stock()
            if self._commits != number:
                await self._file.write(number, tables)

    async def _take_stock(self) -> None:
        """Learns where the file stands; opens it, and makes it or brings its schema up to date, where necessary."""
        await self._file.settle()
        commits, last_seq = await self._file.ask(READ, [self._query("commits"), self._query("last_seq")])
        self._commits, self._last_seq, self._unsure = entries_of(commits)[0][0], entries_of(last_seq)[0][0], False

    async def _read(self, make: Callable[[list[Any]], T], query: Query, kind: int = READ) -> list[T]:
        (answer,) = await self._file.ask(kind, [query])
        return [make(entry) for entry in entries_of(answer)]

    async def _list(self, make: Callable[[list[Any]], T], page: Query, count: Query) -> tuple[list[T], int]:
        rows, total = await self._file.ask(LIST, [page, count])
        return [make(entry) for entry in entries_of(rows)], entries_of(total)[0][0]

    def _message_page(self, where: MessageFilter, limit: int, offset: int, newest_first: bool) -> Query:
        clauses = self._message_clauses(where) | {"order": "DESC" if newest_first else "ASC"}
        return self._query("messages", clauses, **_filter_values(where), limit=limit, offset=offset)

    def _message_count(self, where: MessageFilter) -> Query:
        if where == MessageFilter():  # seq has no gaps, so that the last one is also their number
            return self._query("last_seq")
        return self._query("count_messages", self._message_clauses(where), **_filter_values(where))

    def _message_clauses(self, where: MessageFilter) -> dict[str, str]:
        index = "INDEXED BY messages_by_thread" if where.threads else ""
        return {"where": self._conditions("message", _filter_values(where)), "index": index}

    def _conditions(self, prefix: str, names: Mapping[str, Any]) -> str:
        return " AND ".join(self._reads[f"{prefix}_where_{name}"] for name in names) or "true"

    def _query(self, name: str, clauses: Mapping[str, str] | None = None, /, **values: Any) -> Query:
        fields = {"message": self._reads["message"], "thread": self._reads["thread"]}
        return self._reads[name].format(**fields, **(clauses or {})), values


def _filter_values(where: MessageFilter | ThreadFilter) -> dict[str, Any]:
    """The conditions that count; lists as JSON."""
    values = {name: value for name, value in where._asdict().items() if value not in (None, ())}
    return {name: _json(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _json(values: list[str] | tuple[str, ...]) -> str:
    return orjson.dumps(values).decode()
