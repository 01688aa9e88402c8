"""Access control in one SQLite file, which the pump and `organism keys` may have open at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey
from organism.errors import KeyExists, StorageError, StorageUnavailable, StorageVersionError
from organism.private_folder import make_private
from organism.storage.access.rows import key_row, keys_of, records_json, storable, storable_filter
from organism.storage.sql_files import load_migrations, load_statements

PACKAGE = "organism.storage.access"
BUSY_TIMEOUT_MS = 5000
FILE_MODE = 0o600

T = TypeVar("T")


class SqliteAccessStorage:
    """In the file `path`, made with its folder, for this user only. SQLite runs in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._statements = load_statements("sqlite.sql", PACKAGE)
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="access storage")
        await self._run(lambda connection: None)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown()

    async def version(self) -> int:
        return await self._run(lambda connection: self._one(connection, "version")[0])

    async def keys(self) -> list[ApiKey]:
        rows = await self._run(lambda connection: connection.execute(self._statements["keys"]).fetchall())
        return keys_of(rows, str(self.path))

    async def add_key(self, key: ApiKey) -> None:
        row = key_row(key)

        def add(connection: sqlite3.Connection) -> None:
            try:
                self._write(connection, ("add_key", [row]), ("count_change", [{}]))
            except sqlite3.IntegrityError as error:
                raise KeyExists(key.name) from error

        await self._run(add)

    async def revoke_key(self, key_id: str, now_ms: int) -> None:
        row = {"id": key_id, "now_ms": now_ms}
        await self._run(lambda connection: self._write(connection, ("revoke_key", [row]), ("count_change", [{}])))

    async def note_uses(self, uses: dict[str, int]) -> None:
        rows = [{"id": key_id, "at": at} for key_id, at in uses.items()]
        await self._run(lambda connection: self._write(connection, ("note_use", rows)))

    async def append_audit(self, records: list[AuditRecord]) -> None:
        rows = [{"records": records_json(records)}]  # one statement, which SQLite obeys without holding the GIL
        await self._run(lambda connection: self._write(connection, ("append_audit", rows)))

    async def audit(self, where: AuditFilter, limit: int) -> list[AuditRecord]:
        values = {name: value for name, value in storable_filter(where)._asdict().items() if value is not None}
        conditions = " AND ".join(self._statements[f"where_{name}"] for name in values) or "true"
        query = self._statements["audit"].format(where=conditions)
        rows = await self._run(lambda connection: connection.execute(query, {**values, "limit": limit}).fetchall())
        return [AuditRecord(*row) for row in rows]

    async def add_tokens(self, principal: str, day: str, tokens: int) -> int:
        row = {"principal": storable(principal), "day": day, "tokens": tokens}
        await self._run(lambda connection: self._write(connection, ("add_tokens", [row])))
        return await self.tokens(principal, day)

    async def tokens(self, principal: str, day: str) -> int:
        values = {"principal": storable(principal), "day": day}
        return await self._run(lambda connection: (self._one(connection, "tokens", values) or (0,))[0])

    async def tokens_of_day(self, day: str) -> dict[str, int]:
        query = self._statements["tokens_of_day"]
        return dict(await self._run(lambda connection: connection.execute(query, {"day": day}).fetchall()))

    # In the thread

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise StorageError(f"{self.path} is not open")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._errors():
            if self._connection is None:
                self._connection = self._connect()
            return work(self._connection)

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._disconnect()  # the next call tries anew
            raise StorageUnavailable(f"{self.path}: {error}") from error
        except UnicodeEncodeError as error:
            raise StorageError(f"{self.path}: a text cannot be stored") from error

    def _connect(self) -> sqlite3.Connection:
        make_private(self.path.parent)
        self.path.touch(FILE_MODE)  # before SQLite makes it for everybody to read
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        migrations = load_migrations(PACKAGE)
        with _transaction(connection):
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(migrations):
                raise StorageVersionError(f"{self.path} has version {version}, this is {len(migrations)}")
            for number, migration in enumerate(migrations[version:], version + 1):
                for statement in migration.split(";\n\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, connection: sqlite3.Connection, *tables: tuple[str, list[dict[str, Any]]]) -> None:
        with _transaction(connection):
            for name, rows in tables:
                connection.executemany(self._statements[name], rows)

    def _one(self, connection: sqlite3.Connection, name: str, values: dict[str, Any] | None = None) -> Any:
        return connection.execute(self._statements[name], values or {}).fetchone()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Begun as a writer's, so that it need not become one later, when another may be it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
