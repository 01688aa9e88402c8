"""One store in a PostgreSQL database: a connection that writes and holds the lock, and a few that read.

Only one organism writes a store: an advisory lock is held by the writing connection for as long as it lives. When it
breaks, the next commit makes another; if a different organism had the store meanwhile, commits fail for good.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import Any, NoReturn

import asyncpg

from organism.errors import StorageError, StorageLocked, StorageUnavailable
from organism.storage.postgres_errors import is_connection_lost, masked, storage_error
from organism.storage.postgres_schema import LOCK_CLASS, bring_up_to_date

CONNECT_TIMEOUT_S = 5.0
LOCK_TIMEOUT_MS = 2000
"""How long a lock is waited for: the server may yet have to notice that its last holder is gone."""

OUTCOME_PATIENCE_S = 5.0
"""How long it is tried to learn whether a commit was made whose answer was lost."""

RETRY_DELAY_S = 0.1
READERS = 4

_SETTINGS = {
    "application_name": "organism",
    "jit": "off",
    # All joins here look up rows by their key; the planner, without statistics yet, might read a whole table instead.
    "plan_cache_mode": "force_custom_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
_WRITER_SETTINGS = {
    **_SETTINGS,
    "synchronous_commit": "on",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    # A writer whose machine is gone gives up the lock within half a minute.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")

Query = tuple[str, dict[str, Any]]
"""A statement with `:name` parameters, and their values."""

Statement = tuple[str, tuple[Any, ...]]
"""A statement with `$1` parameters, and their values: an array for each column."""


class _Reader(asyncpg.Connection):
    """Changes no settings of its connection, so that there is nothing to reset after each use."""

    def get_reset_query(self) -> str:
        return ""


class PostgresStore:
    """The store `name` with the number `key` in the database `url`; its migrations lie in `package`.

    timeout_s: for each read and each commit.
    """

    def __init__(self, url: str, name: str, key: int, package: str, timeout_s: float = 10.0) -> None:
        self.place = masked(url)
        self._url = url
        self._name = name
        self._key = key
        self._package = package
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._owner = ""
        self._commits = 0
        self._unanswered: tuple[int, list[Statement]] | None = None
        self._writing: asyncio.Task[None] | None = None  # the last commit; its caller may be gone
        self._writer: Any = None
        self._pool: Any = None

    async def open(self) -> None:
        """Raises StorageLocked, StorageVersionError, StorageUnavailable, StorageError (no URL of a database)."""
        if self._pool is not None:
            raise StorageError(f"{self.place} is open already")
        try:
            self._writer = await self._connect()
            await self._first_lock()
            await bring_up_to_date(self._writer, self._name, self._package, self.place)
            self._owner = uuid.uuid4().hex
            change = "UPDATE organism.stores SET owner = $2 WHERE name = $1 RETURNING commits"
            self._commits = await self._writer.fetchval(change, self._name, self._owner)
            self._unanswered = None
            self._pool = await self._make_pool()
        except BaseException as error:
            self._drop_writer()
            self._raise(error)

    async def close(self) -> None:
        """Lets a commit end that is under way."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        async with self._turn:
            pool, self._pool = self._pool, None
            writer, self._writer = self._writer, None
            for closing in (writer, pool):
                if closing is not None:
                    await self._close(closing)

    async def read(self, *queries: Query) -> list[list[Any]]:
        """The rows of each query, all of them as of one moment. Tried once more where connections broke meanwhile."""
        pool = self._open_pool()
        try:
            try:
                return await self._read(pool, queries)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                if isinstance(error, TimeoutError) or not is_connection_lost(error):
                    raise
                await pool.expire_connections()
                return await self._read(pool, queries)
        except Exception as error:
            self._raise(error)

    async def settle(self) -> list[Statement] | None:
        """Connects again where it has to; returns what was written although the answer was lost, if there is such."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        async with self._turn:
            return await self._settle()

    async def write(self, statements: list[Statement]) -> None:
        """All of them in one durable transaction, which goes on to its end when the caller is cancelled."""
        self._writing = asyncio.create_task(self._write(statements))
        self._writing.add_done_callback(_retrieve)
        await asyncio.shield(self._writing)

    async def _write(self, statements: list[Statement]) -> None:
        async with self._turn:
            await self._settle()
            number = self._commits + 1
            try:
                await self._transact(number, statements)
            except StorageUnavailable:
                if self._unanswered is None:
                    raise
                await self._settle_patiently()
                if self._commits < number:
                    await self._transact(number, statements)

    async def _transact(self, number: int, statements: list[Statement]) -> None:
        writer = self._writer
        begin = (
            f"BEGIN; UPDATE organism.stores SET commits = {number}"
            f" WHERE name = '{self._name}' AND owner = '{self._owner}' AND commits = {number - 1}"
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                if await writer.execute(begin) != "UPDATE 1":
                    raise StorageLocked(self.place)
                for text, columns in statements:
                    await writer.execute(text, *columns)
                self._unanswered = number, statements
                await writer.execute("COMMIT")
        except BaseException as error:
            await self._give_up_transaction(error)
            self._raise(error)
        self._commits, self._unanswered = number, None

    async def _give_up_transaction(self, error: BaseException) -> None:
        """Without a connection there is no transaction: where it cannot be rolled back, the connection goes."""
        if not isinstance(error, Exception) or (not isinstance(error, StorageError) and is_connection_lost(error)):
            return self._drop_writer()
        self._unanswered = None  # there was an answer, that it was not made
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._writer.execute("ROLLBACK")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._drop_writer()
        return None

    async def _settle(self) -> list[Statement] | None:
        self._open_pool()
        if self._writer is not None and not self._writer.is_closed():
            return None
        self._drop_writer()
        try:
            self._writer = await self._connect()
            await self._lock_again()
        except BaseException as error:
            self._drop_writer()
            self._raise(error)
        unanswered, self._unanswered = self._unanswered, None
        return unanswered[1] if unanswered is not None and unanswered[0] == self._commits else None

    async def _settle_patiently(self) -> None:
        deadline_s = time.monotonic() + OUTCOME_PATIENCE_S
        while True:
            try:
                await self._settle()
                return
            except StorageUnavailable:
                if time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(RETRY_DELAY_S)

    async def _first_lock(self) -> None:
        try:
            await self._lock()
        except asyncpg.LockNotAvailableError:
            raise StorageLocked(self.place) from None

    async def _lock_again(self) -> None:
        """Waits until the old connection's end was noticed, and makes sure that nobody else was here meanwhile."""
        await self._lock()
        known = "SELECT owner, commits FROM organism.stores WHERE name = $1"
        owner, commits = await self._writer.fetchrow(known, self._name)
        if owner != self._owner:
            raise StorageLocked(self.place)
        self._commits = commits

    async def _lock(self) -> None:
        await self._writer.execute(f"SELECT pg_advisory_lock({LOCK_CLASS}, {self._key})")

    async def _connect(self) -> Any:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncpg.connect(self._url, server_settings=_WRITER_SETTINGS, command_timeout=self._timeout_s)

    async def _make_pool(self) -> Any:
        return await asyncpg.create_pool(
            self._url, min_size=0, max_size=READERS, connection_class=_Reader, timeout=CONNECT_TIMEOUT_S,
            command_timeout=self._timeout_s, server_settings=_SETTINGS,
        )  # fmt: skip

    async def _read(self, pool: Any, queries: tuple[Query, ...]) -> list[list[Any]]:
        async with asyncio.timeout(self._timeout_s), pool.acquire() as connection:
            if len(queries) == 1:
                return [await _fetch(connection, queries[0])]
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return [await _fetch(connection, query) for query in queries]

    async def _close(self, closing: Any) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await closing.close()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            closing.terminate()

    def _open_pool(self) -> Any:
        if self._pool is None:
            raise StorageError(f"{self.place} is not open")
        return self._pool

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.terminate()

    def _raise(self, error: BaseException) -> NoReturn:
        if not isinstance(error, Exception):
            raise error
        hides_cause = isinstance(error, StorageError | ValueError)  # the text of a ValueError may quote the URL
        raise storage_error(error, self._url) from (None if hides_cause else error)


def _retrieve(writing: asyncio.Task[None]) -> None:
    """The error of a commit whose caller was cancelled is nobody's any more."""
    if not writing.cancelled():
        writing.exception()


async def _fetch(connection: Any, query: Query) -> list[Any]:
    text, values = query
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    numbered = _PARAMETER.sub(number, text)
    return await connection.fetch(numbered, *(_searchable(values[name]) for name in names))


def _searchable(value: Any) -> Any:
    """Texts as PostgreSQL takes them: what has NUL or lone surrogates is stored nowhere, and not found."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    if isinstance(value, list | tuple):
        return [_searchable(each) for each in value]
    return value
