from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from organism.errors import StorageError, StorageLocked, StorageUnavailable, StorageVersionError
from organism.storage import sqlite_client
from organism.storage.base import Commit, MessageFilter
from organism.storage.sql_files import load_migrations
from organism.storage.sqlite import SqliteStorage
from organism.storage.sqlite_client import ProcessEnded, SqliteClient
from organism.storage.sqlite_server import WRITE, SchemaTooNew, migrate
from tests.storage_samples import NOW_MS, log_of, message, queue_of, thread

COMMIT_WITHOUT_END = """
import asyncio, sys
from pathlib import Path
from organism.storage.sqlite import SqliteStorage
from tests.storage_samples import message, queue_of, thread

async def main():
    storage = SqliteStorage(Path(sys.argv[1]))
    seq = (await storage.open()).last_seq
    print("open", storage.pid, flush=True)
    while True:
        commit = queue_of(*(message(seq + n, f"thread-{seq}", n) for n in range(1, 11)))
        seq += 10
        commit.threads, commit.settings = [thread(f"thread-{seq}")], {"last": str(seq)}
        await storage.commit(commit)
        print(seq, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "organism.db"


@pytest.fixture
async def storage(path: Path) -> AsyncIterator[SqliteStorage]:
    storage = SqliteStorage(path)
    await storage.open()
    yield storage
    await storage.close()


@pytest.fixture
def other_process(path: Path) -> Any:
    """Another process that has the storage open and commits without end; ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMIT_WITHOUT_END, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    with process:
        yield process
        process.kill()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  other processes set no Event
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def overwrite(path: Path, position: int, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(position)
        file.write(content)


# Durability


def test_acknowledged_commits_survive_a_kill_and_none_is_torn(other_process: Any, path: Path) -> None:
    lines = iter(other_process.stdout)
    next(lines)
    acknowledged = [int(next(lines)) for _ in range(30)][-1]
    other_process.kill()
    acknowledged = max([acknowledged, *(int(line) for line in lines if line.endswith("\n"))])

    async def check() -> None:
        storage = SqliteStorage(path)
        totals = await storage.open()  # waits for what the killed one's server is still writing
        assert totals.last_seq >= acknowledged
        assert totals.last_seq % 10 == 0
        assert totals.settings == {"last": str(totals.last_seq)}
        assert totals.queued == {"greeter": totals.last_seq}
        assert totals.active_threads == totals.last_seq // 10
        await storage.commit(log_of(message(totals.last_seq + 1)))
        await storage.close()

    asyncio.run(check())


async def test_a_killed_server_is_started_again(storage: SqliteStorage) -> None:
    await storage.commit(queue_of(message(1)))
    assert storage.pid is not None
    os.kill(storage.pid, signal.SIGKILL)
    pid = storage.pid
    await until(lambda: not is_running(pid))
    assert len(await storage.queued("greeter", 0, 10)) == 1
    await storage.commit(queue_of(message(2)))
    assert storage.pid != pid
    assert (await storage.totals()).queued == {"greeter": 2}


async def test_commits_and_kills_at_random_moments_leave_a_whole_log(storage: SqliteStorage) -> None:
    """Every commit is either made or reported as not made, whatever happens to the process that makes it."""
    seq = 0

    async def kill_now_and_then() -> None:
        for _ in range(5):
            reached = seq + 5
            await until(lambda reached=reached: seq >= reached)
            if storage.pid is not None:
                os.kill(storage.pid, signal.SIGKILL)

    killing = asyncio.create_task(kill_now_and_then())
    while not killing.done():
        try:
            await storage.commit(queue_of(message(seq + 1)))
        except StorageUnavailable:
            continue
        seq += 1
    await killing
    assert (await storage.totals()).queued == {"greeter": seq}


async def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answer = [True]
    really_call = SqliteClient.call

    async def call(self: SqliteClient, kind: int, job: Any) -> Any:
        answer = await really_call(self, kind, job)
        if kind == WRITE and job is not None and lose_answer.pop():
            raise ProcessEnded("killed after the commit")
        return answer

    monkeypatch.setattr(SqliteClient, "call", call)
    await storage.commit(queue_of(message(1)))
    lose_answer.append(False)
    await storage.commit(queue_of(message(2)))
    assert (await storage.totals()).last_seq == 2


async def test_a_commit_that_the_process_did_not_live_to_make_can_be_made_again(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_call = SqliteClient.call

    async def call(self: SqliteClient, kind: int, job: Any) -> Any:
        if kind == WRITE and job is not None:
            raise ProcessEnded("killed before the commit")
        return await really_call(self, kind, job)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteClient, "call", call)
        with pytest.raises(StorageUnavailable, match="killed before"):
            await storage.commit(queue_of(message(1)))
    await storage.commit(queue_of(message(1)))
    assert (await storage.totals()).last_seq == 1


async def test_a_cancelled_commit_does_not_confuse_the_next(storage: SqliteStorage) -> None:
    committing = asyncio.create_task(storage.commit(queue_of(message(1))))
    await asyncio.sleep(0)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    await storage.commit(Commit(settings={"a": "b"}))
    assert (await storage.totals()).last_seq == 1
    await storage.commit(queue_of(message(2)))


async def test_close_finishes_what_is_being_written(path: Path) -> None:
    storage = SqliteStorage(path)
    await storage.open()
    committing = asyncio.create_task(storage.commit(queue_of(*(message(seq) for seq in range(1, 2001)))))
    await asyncio.sleep(0)
    await storage.close()
    await committing
    assert (await storage.open()).last_seq == 2000
    await storage.close()


async def test_a_closed_storage_says_so(storage: SqliteStorage) -> None:
    await storage.close()
    with pytest.raises(StorageError, match="is not open"):
        await storage.commit(Commit())


# The lock


async def test_a_second_opening_in_the_same_process_is_refused(storage: SqliteStorage, path: Path) -> None:
    second = SqliteStorage(path)
    with pytest.raises(StorageLocked, match=f"process {os.getpid()}"):
        await second.open()
    await second.close()
    await storage.commit(log_of(message(1)))  # the first one is not disturbed


async def test_a_storage_that_another_process_has_open_is_refused_until_that_is_killed(
    other_process: Any, path: Path
) -> None:
    await asyncio.to_thread(other_process.stdout.readline)
    storage = SqliteStorage(path)
    with pytest.raises(StorageLocked, match=f"process {other_process.pid}"):
        await storage.open()
    other_process.kill()
    await asyncio.to_thread(other_process.wait)
    await storage.open()
    await storage.close()


async def test_the_server_of_a_killed_process_ends_and_keeps_the_lock_until_then(
    other_process: Any, path: Path
) -> None:
    line = await asyncio.to_thread(other_process.stdout.readline)
    server = int(line.split()[1])
    os.kill(server, signal.SIGSTOP)
    other_process.kill()
    await asyncio.to_thread(other_process.wait)
    storage = SqliteStorage(path)
    opening = asyncio.create_task(storage.open())
    await asyncio.wait([opening], timeout=0.3)
    assert not opening.done()
    os.kill(server, signal.SIGCONT)
    await opening
    await until(lambda: not is_running(server))
    await storage.close()


# The schema


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    tool = sqlite3.connect(path)
    tool.execute("PRAGMA user_version = 99")
    storage = SqliteStorage(path)
    with pytest.raises(StorageVersionError, match="version 99"):
        await storage.open()
    assert tool.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    tool.close()
    assert storage.pid is None


async def test_a_file_from_before_threads_had_owners_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    tool = sqlite3.connect(path)
    migrate(tool, load_migrations()[:1])
    tool.execute("INSERT INTO threads VALUES ('thread', ?, ?, 'active', '[]', 0, 0, NULL, NULL)", [NOW_MS, NOW_MS])
    tool.commit()
    tool.close()
    storage = SqliteStorage(path)
    assert (await storage.open()).active_threads == 1
    assert await storage.threads_by_id(["thread"]) == {"thread": thread()}
    await storage.commit(Commit(threads=[thread(owner="key:ci")]))
    assert await storage.threads_by_id(["thread"]) == {"thread": thread(owner="key:ci")}
    await storage.close()


def test_only_new_migrations_are_applied() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    first = "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('kept');"
    migrate(connection, [first])
    migrate(connection, [first, "ALTER TABLE notes ADD COLUMN author TEXT;"])
    assert connection.execute("SELECT text, author FROM notes").fetchall() == [("kept", None)]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    with pytest.raises(SchemaTooNew):
        migrate(connection, [first])
    connection.close()


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    migrations = ["CREATE TABLE a (x);", "CREATE TABLE b (x); CREATE TABLE a (x);"]
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, migrations)
    connection.close()
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
    connection.close()


async def test_the_schema_has_the_number_of_its_migrations(storage: SqliteStorage, path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(load_migrations()),)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


# Failures of the medium


async def test_a_full_disk_is_reported_and_recovered_from(path: Path) -> None:
    storage = SqliteStorage(path, pragmas={"max_page_count": 30})
    await storage.open()
    big = b'"' + b"x" * 10_000 + b'"'
    with pytest.raises(StorageUnavailable, match="full"):
        await storage.commit(queue_of(*(message(seq, payload=big) for seq in range(1, 100))))
    await storage.commit(queue_of(message(1)))  # room for a small one
    assert (await storage.totals()).queued == {"greeter": 1}
    await storage.close()
    roomier = SqliteStorage(path)
    await roomier.open()
    await roomier.commit(queue_of(*(message(seq, payload=big) for seq in range(2, 100))))
    await roomier.close()


async def test_an_io_error_is_reported_and_recovered_from(storage: SqliteStorage) -> None:
    """The server may not make files longer than they are: every write fails as on a broken disk."""
    await storage.commit(queue_of(message(1)))
    assert storage.pid is not None
    before = resource.prlimit(storage.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="nothing was stored"):
            await storage.commit(queue_of(*(message(seq) for seq in range(2, 50))))
    assert (await storage.totals()).last_seq == 1  # it still reads
    resource.prlimit(storage.pid, resource.RLIMIT_FSIZE, before)
    await storage.commit(queue_of(*(message(seq) for seq in range(2, 50))))
    assert (await storage.totals()).queued == {"greeter": 49}


async def test_a_read_only_database_is_reported(storage: SqliteStorage, path: Path) -> None:
    await storage.commit(queue_of(message(1)))
    await storage.close()
    read_only = SqliteStorage(path, pragmas={"query_only": 1})
    await read_only.open()
    with pytest.raises(StorageUnavailable, match="readonly"):
        await read_only.commit(queue_of(message(2)))
    assert len(await read_only.queued("greeter", 0, 10)) == 1
    await read_only.close()


async def test_a_database_that_a_foreign_tool_has_locked_is_reported_and_recovered_from(path: Path) -> None:
    storage = SqliteStorage(path, pragmas={"busy_timeout": 10})
    await storage.open()
    tool = sqlite3.connect(path, isolation_level=None)
    tool.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        await storage.commit(queue_of(message(1)))
    tool.execute("ROLLBACK")
    tool.close()
    await storage.commit(queue_of(message(1)))
    await storage.close()


async def test_a_path_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)
    with pytest.raises(StorageUnavailable, match="unable to open"):
        await storage.open()


async def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageUnavailable, match="file"):
        await SqliteStorage(tmp_path / "file" / "organism.db").open()


async def test_a_file_that_is_no_database_is_reported(path: Path) -> None:
    overwrite(path, 0, b"not a database, but long enough to look at " * 100)
    storage = SqliteStorage(path)
    with pytest.raises(StorageError, match=r"damaged.*restore it from a backup") as caught:
        await storage.open()
    assert not isinstance(caught.value, StorageUnavailable)


async def test_a_damaged_database_is_reported(path: Path) -> None:
    storage = SqliteStorage(path)
    await storage.open()
    await storage.commit(queue_of(*(message(seq) for seq in range(1, 1000))))
    await storage.close()
    overwrite(path, 8192, os.urandom(100_000))
    with pytest.raises(StorageError, match="damaged"):
        await storage.open()


async def test_a_process_that_cannot_be_started_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_client.sys, "executable", "/nowhere/python")
    with pytest.raises(StorageUnavailable, match="cannot be started"):
        await SqliteStorage(path).open()


async def test_text_that_cannot_be_stored_is_reported_and_harms_nothing(storage: SqliteStorage) -> None:
    with pytest.raises(StorageError, match="surrogates not allowed"):
        await storage.commit(log_of(message(1, recipient="\udcff")))
    await storage.commit(log_of(message(1)))


# Speed (bounds that only a wrong plan breaks)


async def test_reads_of_one_thread_and_one_queue_do_not_scan_the_log(storage: SqliteStorage) -> None:
    for start in range(0, 60_000, 20_000):
        seqs = range(start + 1, start + 20_001)
        await storage.commit(queue_of(*(message(seq, f"thread-{seq // 3}", seq % 3) for seq in seqs)))
    started = time.perf_counter()
    for seq in range(1, 100):
        where = MessageFilter(threads=(f"thread-{seq}",))
        assert (await storage.messages(where, 10, newest_first=True))[1] in (2, 3)
        assert len(await storage.queued("greeter", 59_000, 10)) == 10
        assert len(await storage.queued_in_thread(f"thread-{seq}")) in (2, 3)
        await storage.commit(Commit(done=[("greeter", seq)], threads=[thread(f"thread-{seq}")]))
    assert time.perf_counter() - started < 10
