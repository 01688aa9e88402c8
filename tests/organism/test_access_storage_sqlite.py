"""What only the SQLite storage of access control has: a file, which others may open or harm."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import NewKey, issue
from organism.access.principal import Role
from organism.errors import KeyExists, StorageError, StorageUnavailable, StorageVersionError
from organism.storage.access.sqlite import SqliteAccessStorage

RECORD = AuditRecord(1, "key:ci", "pause", "greeter", "::1", "ok")

ADD = """
import asyncio, sys
from pathlib import Path
from organism.access.keys import NewKey, issue
from organism.access.principal import Role
from organism.storage.access.sqlite import SqliteAccessStorage

async def main():
    storage = SqliteAccessStorage(Path(sys.argv[1]))
    await storage.open()
    await storage.add_key(issue(NewKey("ci", Role.VIEWER), 1).key)
    await storage.close()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".organism" / "access.db"


@pytest.fixture
async def storage(path: Path) -> AsyncIterator[SqliteAccessStorage]:
    storage = SqliteAccessStorage(path)
    await storage.open()
    yield storage
    await storage.close()


async def test_its_files_are_for_this_user_only(storage: SqliteAccessStorage, path: Path) -> None:
    await storage.append_audit([RECORD])
    files = list(path.parent.iterdir())
    assert {file.name for file in files} >= {"access.db", "access.db-wal"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_another_process_adds_a_key_meanwhile(storage: SqliteAccessStorage, path: Path) -> None:
    version = await storage.version()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ADD, str(path))
    assert await process.wait() == 0
    assert await storage.version() != version
    assert [key.name for key in await storage.keys()] == ["ci"]
    with pytest.raises(KeyExists):
        await storage.add_key(issue(NewKey("ci", Role.ADMIN), 2).key)


async def test_no_audit_record_takes_the_place_of_another(storage: SqliteAccessStorage, path: Path) -> None:
    await storage.append_audit([RECORD])
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("INSERT OR REPLACE INTO audit VALUES (1, 9, 'x', 'x', 'x', 'x', 'ok', 'x')")
    assert await storage.audit(AuditFilter(), 10) == [RECORD._replace(seq=1)]


async def test_a_file_of_a_newer_version_is_refused(storage: SqliteAccessStorage, path: Path) -> None:
    await storage.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageVersionError, match="99"):
        await storage.open()


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "access.db"
    path.write_bytes(b"no database" * 1000)
    storage = SqliteAccessStorage(path)
    with pytest.raises(StorageUnavailable, match=r"access\.db.*not a database"):
        await storage.open()
    await storage.close()


async def test_a_locked_file_is_unavailable_and_works_again(
    storage: SqliteAccessStorage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("organism.storage.access.sqlite.BUSY_TIMEOUT_MS", 20)
    await storage.close()
    await storage.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked"):
            await storage.append_audit([RECORD])
        other.execute("ROLLBACK")
    await storage.append_audit([RECORD])
    assert len(await storage.audit(AuditFilter(), 10)) == 1


async def test_a_key_whose_name_is_no_text_is_refused(storage: SqliteAccessStorage) -> None:
    with pytest.raises(StorageError, match="cannot be stored"):
        await storage.add_key(issue(NewKey("\ud800", Role.VIEWER), 1).key)
    assert await storage.keys() == []
