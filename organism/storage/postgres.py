"""Storage in a PostgreSQL database, for clusters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from organism.messages import DeadLetter, Message
from organism.storage.base import Commit, MessageFilter, Pending, ThreadFilter, Totals
from organism.storage.continuity import check_continues
from organism.storage.postgres_connection import PostgresStore, Query
from organism.storage.postgres_rows import (
    dead_letter_from,
    message_from,
    pending_from,
    settings_from,
    statements_of,
    thread_from,
)
from organism.storage.sql_files import LOG_PACKAGE, load_statements
from organism.threads import Thread

T = TypeVar("T")

LOG_KEY = 1
"""Second key of the log's advisory lock."""


class PostgresStorage:
    """A log in the schema `organism` of the database `url` (postgresql://user:password@host:port/database).

    timeout_s: for each read and each commit.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self._store = PostgresStore(url, "log", LOG_KEY, LOG_PACKAGE, timeout_s)
        self._reads = load_statements("postgres_reads.sql")
        self._writes = load_statements("postgres_writes.sql")
        self._last_seq: int | None = None  # unknown until it is read, and after a commit that failed

    async def open(self) -> Totals:
        await self._store.open()
        try:
            totals = await self.totals()
        except BaseException:
            await self.close()
            raise
        self._last_seq = totals.last_seq
        return totals

    async def close(self) -> None:
        await self._store.close()

    async def commit(self, commit: Commit) -> None:
        statements = statements_of(
            commit, self._writes
        )  # before the first await: threads change while they are written
        if self._last_seq is None:
            made = await self._store.settle()
            last_seq = await self._read_last_seq()
            if made is not None and made == statements:
                self._last_seq = last_seq
                return
        else:
            last_seq = self._last_seq
        check_continues(commit.messages, last_seq)
        self._last_seq = None  # until an answer says whether it was written; the caller may also be cancelled meanwhile
        await self._store.write(statements)
        self._last_seq = last_seq + len(commit.messages)

    async def totals(self) -> Totals:
        queries = [self._query(name) for name in ("last_seq", "queue_sizes", "active_threads", "settings")]
        last_seq, queue_sizes, active_threads, settings = await self._store.read(*queries)
        return Totals(last_seq[0][0], dict(map(tuple, queue_sizes)), active_threads[0][0], settings_from(settings))

    async def queued(self, recipient: str, after_seq: int, limit: int) -> list[Pending]:
        query = self._query("queued", recipient=recipient, after_seq=after_seq, limit=limit)
        return await self._read(pending_from, query)

    async def queued_in_thread(self, thread_id: str) -> list[Pending]:
        return await self._read(pending_from, self._query("queued_in_thread", thread_id=thread_id))

    async def threads_by_id(self, thread_ids: list[str]) -> dict[str, Thread]:
        found = await self._read(thread_from, self._query("threads_by_id", thread_ids=thread_ids))
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
        return await self._read(message_from, self._message_page(where, limit, offset=0, newest_first=False))

    async def dead_letters(self, agent: str | None, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        page = self._query("dead_letters", agent=agent, limit=limit, offset=offset)
        return await self._list(dead_letter_from, page, self._query("count_dead_letters", agent=agent))

    async def dead_letter(self, message_id: str) -> DeadLetter | None:
        found = await self._read(dead_letter_from, self._query("dead_letter", message_id=message_id))
        return found[0] if found else None

    async def _read_last_seq(self) -> int:
        [[row]] = await self._store.read(self._query("last_seq"))
        return row[0]

    async def _read(self, make: Callable[[Any], T], query: Query) -> list[T]:
        [rows] = await self._store.read(query)
        return [make(row) for row in rows]

    async def _list(self, make: Callable[[Any], T], page: Query, count: Query) -> tuple[list[T], int]:
        rows, total = await self._store.read(page, count)
        return [make(row) for row in rows], total[0][0]

    def _message_page(self, where: MessageFilter, limit: int, offset: int, newest_first: bool) -> Query:
        values = _filter_values(where)
        clauses = {"where": self._conditions("message", values), "order": "DESC" if newest_first else "ASC"}
        return self._query("messages", clauses, **values, limit=limit, offset=offset)

    def _message_count(self, where: MessageFilter) -> Query:
        if where == MessageFilter():  # seq has no gaps, so that the last one is also their number
            return self._query("last_seq")
        values = _filter_values(where)
        return self._query("count_messages", {"where": self._conditions("message", values)}, **values)

    def _conditions(self, prefix: str, names: Mapping[str, Any]) -> str:
        return " AND ".join(self._reads[f"{prefix}_where_{name}"] for name in names) or "true"

    def _query(self, name: str, clauses: Mapping[str, str] | None = None, /, **values: Any) -> Query:
        fields = {"message": self._reads["message"], "thread": self._reads["thread"]}
        return self._reads[name].format(**fields, **(clauses or {})), values


def _filter_values(where: MessageFilter | ThreadFilter) -> dict[str, Any]:
    """The conditions that count."""
    return {name: value for name, value in where._asdict().items() if value not in (None, ())}
