"""A thread that owns a connection to SQLite, and what its errors mean."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from organism.errors import StorageError, StorageUnavailable

T = TypeVar("T")

WRITER_PRAGMAS: Mapping[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": "full",
    "secure_delete": 0,  # some builds overwrite deleted rows with zeros; queue entries are no secrets
    "cache_size": -65536,  # KiB when negative
    "wal_autocheckpoint": 4000,  # pages of 4 KiB: the log file stays at about 16 MB
    "journal_size_limit": 67_108_864,  # bytes it may keep after a burst
    "busy_timeout": 5000,  # ms; only a foreign tool can be in the way
}
READER_PRAGMAS: Mapping[str, str | int] = {"query_only": 1, "cache_size": -16384, "busy_timeout": 5000}

PASSING_ERRORS = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
})  # fmt: skip
"""Result codes of a medium that fails for now; all others are StorageErrors."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns the errors of sqlite3 and of the file system into the package's own."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in PASSING_ERRORS:
            raise StorageUnavailable(f"{path}: {error}") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise StorageError(f"{path} is damaged ({error}); restore it from a backup or move it away") from error
        raise StorageError(f"{path}: {error}") from error
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error}") from error
    except UnicodeError as error:
        raise StorageError(f"{path}: a text cannot be stored as UTF-8: {error}") from error


class ConnectionThread:
    """Runs jobs one after the other on one connection in one thread.

    The connection is opened when it is first needed, and anew after an error: whatever state the failed one was left
    in is gone with it, and a transaction that was open is rolled back.
    """

    def __init__(self, name: str, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `job(connection)`.

        Raises:
            StorageUnavailable: the medium fails for now.
            StorageError: it failed otherwise.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, job)

    async def close(self) -> None:
        """Finishes the jobs under way and closes the connection."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._discard)
        self._executor.shutdown(wait=False)

    def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        with translated(self._path):
            try:
                if self._connection is None:
                    self._connection = self._connect()
                return job(self._connection)
            except BaseException:
                self._discard()
                raise

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def connect(path: Path, mode: str, pragmas: Mapping[str, str | int]) -> sqlite3.Connection:
    """A connection in autocommit mode (transactions are begun by hand); `mode` is `ro` or `rwc`."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=256)
    try:
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name} = {value}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection
