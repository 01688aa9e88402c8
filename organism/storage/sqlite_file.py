"""One SQLite file, the lock on it and the process that owns it: what the SQLite providers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from organism.errors import StorageError, StorageUnavailable
from organism.private_folder import make_private
from organism.storage.file_lock import FileLock
from organism.storage.sql_files import load_migrations, load_statements
from organism.storage.sqlite_client import ProcessEnded, SqliteClient
from organism.storage.sqlite_server import WRITE, Setup, Table

Query = tuple[str, dict[str, Any]]

WRITER_PRAGMAS: dict[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": "full",
    "secure_delete": 0,  # some builds overwrite what is deleted with zeros; entries of a queue are no secrets
    "cache_size": -65536,  # KiB when negative
    "wal_autocheckpoint": 4000,  # pages of 4 KiB: the write-ahead log stays at about 16 MB
    "journal_size_limit": 67_108_864,  # bytes it may keep after a burst
    "busy_timeout": 5000,  # ms; only a foreign tool can be in the way
}
READER_PRAGMAS: dict[str, str | int] = {"query_only": 1, "cache_size": -16384, "busy_timeout": 5000}

INHERITED_LOCK_TIMEOUT_S = 10.0
"""How long the process of a killed organism may take for its last transaction."""


class SqliteFile:
    """The file `path` (its folder is made), with `-wal`, `-shm` and `.lock` files beside it.

    package: where its SQL lies, in a folder `sql`: migrations and `writes.sql`. pragmas: further ones of the writer.
    """

    def __init__(self, path: Path, package: str, pragmas: Mapping[str, str | int] | None) -> None:
        self.path = path
        self._package = package
        self._pragmas = dict(pragmas or {})
        self._lock = FileLock(path)
        self._open_client: SqliteClient | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that owns the file, where it runs."""
        return None if self._open_client is None else self._open_client.pid

    async def lock(self) -> None:
        """Takes the lock; the process is started by the first job.

        Raises:
            StorageLocked, StorageUnavailable
        """
        try:
            make_private(self.path.parent)
            await self._lock.acquire(INHERITED_LOCK_TIMEOUT_S)
        except OSError as error:
            raise StorageUnavailable(f"{self.path}: {error}") from error
        self._open_client = SqliteClient(self.path, self._setup(), self._lock.descriptor)

    async def close(self) -> None:
        """Finishes all jobs and releases the lock. Safe to call twice."""
        client, self._open_client = self._open_client, None
        if client is not None:
            await client.close()
        self._lock.release()

    async def settle(self) -> None:
        """Returns when all that was to be written is written or has failed; makes the file, or brings its schema up
        to date, where necessary."""
        await self._client.call(WRITE, None)

    async def write(self, commit_number: int | None, tables: list[Table]) -> None:
        """One transaction. Raises ProcessEnded where it is not known whether it was made."""
        await self._client.call(WRITE, (commit_number, tables))

    async def ask(self, kind: int, queries: list[Query]) -> list[str]:
        """The answers to READ or LIST queries, one text each; see sqlite_rows.entries_of."""
        try:
            return await self._client.call(kind, queries)
        except ProcessEnded:
            return await self._client.call(kind, queries)

    @property
    def _client(self) -> SqliteClient:
        if self._open_client is None:
            raise StorageError(f"{self.path} is not open")
        return self._open_client

    def _setup(self) -> Setup:
        uri = self.path.absolute().as_uri()
        pragmas = {**WRITER_PRAGMAS, **self._pragmas}
        migrations, inserts = load_migrations(self._package), load_statements("writes.sql", self._package)
        return Setup(uri, pragmas, READER_PRAGMAS, migrations, inserts)
