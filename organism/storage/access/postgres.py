"""Access control in a PostgreSQL database, beside the log; the pump and `organism keys` may have it open at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey
from organism.errors import KeyExists, OrganismError, StorageError
from organism.storage.access.rows import key_row, keys_of, storable, storable_filter, storable_record
from organism.storage.postgres_errors import is_connection_lost, masked, storage_error
from organism.storage.postgres_schema import LOCK_CLASS, bring_up_to_date
from organism.storage.sql_files import load_statements

PACKAGE = "organism.storage.access"
CONNECT_TIMEOUT_S = 5.0
CONNECTIONS = 2

AUDIT_KEY = 3
"""Second key of an advisory lock, by which audit records are seen in the order of their numbers: those of a transaction
that ends later are larger, so that who follows the log misses none."""

_SETTINGS = {"application_name": "organism", "synchronous_commit": "on", "jit": "off"}

T = TypeVar("T")


class PostgresAccessStorage:
    """In the schema `organism` of the database `url` (postgresql://user:password@host:port/database).

    timeout_s: for each read and each write. One whose answer was lost may have been made although it raises.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self._place = masked(url)
        self._url = url
        self._timeout_s = timeout_s
        self._sql = load_statements("postgres.sql", PACKAGE)
        self._pool: Any = None

    async def open(self) -> None:
        if self._pool is not None:
            raise StorageError(f"{self._place} is open already")
        try:
            self._pool = await self._make_pool()
            async with asyncio.timeout(self._timeout_s), self._pool.acquire() as connection:
                await bring_up_to_date(connection, "access", PACKAGE, self._place)
        except BaseException as error:
            await self.close()
            if not isinstance(error, Exception):
                raise
            raise self._translated(error) from None

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await pool.close()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            pool.terminate()

    async def version(self) -> int:
        return await self._do(lambda connection: connection.fetchval(self._sql["version"]))

    async def keys(self) -> list[ApiKey]:
        rows = await self._do(lambda connection: connection.fetch(self._sql["keys"]))
        return keys_of(rows, self._place)

    async def add_key(self, key: ApiKey) -> None:
        async def add(connection: Any) -> None:
            if await connection.fetchval(self._sql["add_key"], *key_row(key).values()) is None:
                raise KeyExists(key.name)
            await connection.execute(self._sql["count_change"])

        await self._do(add)

    async def revoke_key(self, key_id: str, now_ms: int) -> None:
        async def revoke(connection: Any) -> None:
            await connection.execute(self._sql["revoke_key"], storable(key_id), now_ms)
            await connection.execute(self._sql["count_change"])

        await self._do(revoke)

    async def note_uses(self, uses: dict[str, int]) -> None:
        rows = sorted((storable(key_id), at) for key_id, at in uses.items())  # in one order, so that none deadlock
        await self._do(lambda connection: connection.executemany(self._sql["note_use"], rows))

    async def append_audit(self, records: list[AuditRecord]) -> None:
        rows = [storable_record(record)[:-1] for record in records]

        async def append(connection: Any) -> None:
            await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {AUDIT_KEY})")
            await connection.executemany(self._sql["append_audit"], rows)

        await self._do(append)

    async def audit(self, where: AuditFilter, limit: int) -> list[AuditRecord]:
        values = *storable_filter(where), limit
        rows = await self._do(lambda connection: connection.fetch(self._sql["audit"], *values))
        return [AuditRecord(*row) for row in rows]

    async def add_tokens(self, principal: str, day: str, tokens: int) -> int:
        values = storable(principal), day, tokens
        return await self._do(lambda connection: connection.fetchval(self._sql["add_tokens"], *values))

    async def tokens(self, principal: str, day: str) -> int:
        values = storable(principal), day
        return await self._do(lambda connection: connection.fetchval(self._sql["tokens"], *values)) or 0

    async def tokens_of_day(self, day: str) -> dict[str, int]:
        rows = await self._do(lambda connection: connection.fetch(self._sql["tokens_of_day"], day))
        return dict(rows)

    async def _do(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """In one transaction. Tried once more where the connection was lost before it began, as after a restart of
        the server."""
        try:
            return await self._transact(work)
        except _NotBegun:
            await self._open_pool().expire_connections()
        try:
            return await self._transact(work)
        except _NotBegun as error:
            cause = error.__cause__
            assert isinstance(cause, Exception)
            raise self._translated(cause) from None

    async def _transact(self, work: Callable[[Any], Awaitable[T]]) -> T:
        has_begun = False
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._open_pool().acquire() as connection,
                connection.transaction(),
            ):
                has_begun = True
                return await work(connection)
        except OrganismError:
            raise
        except Exception as error:
            if not has_begun and not isinstance(error, TimeoutError) and is_connection_lost(error):
                raise _NotBegun from error
            raise self._translated(error) from None

    async def _make_pool(self) -> Any:
        return await asyncpg.create_pool(
            self._url, min_size=0, max_size=CONNECTIONS, timeout=CONNECT_TIMEOUT_S,
            command_timeout=self._timeout_s, server_settings=_SETTINGS,
        )  # fmt: skip

    def _open_pool(self) -> Any:
        if self._pool is None:
            raise StorageError(f"{self._place} is not open")
        return self._pool

    def _translated(self, error: Exception) -> StorageError:
        return storage_error(error, self._url)


class _NotBegun(Exception):
    """The connection was lost before anything was done with it."""
