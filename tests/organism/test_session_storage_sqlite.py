"""What only the SQLite provider of sessions does; the rest is in tests/contracts/test_session_storage.py."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from organism.errors import StorageError, StorageUnavailable, StorageVersionError
from organism.sessions.events import Frame
from organism.sessions.records import SessionFilter
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.sqlite import PACKAGE, SqliteSessionStorage
from organism.storage.sql_files import load_migrations
from organism.storage.sqlite_client import ProcessEnded, SqliteClient
from organism.storage.sqlite_server import WRITE, migrate
from tests.contracts.session_samples import frame_of, frames_of, record_of, session_of

COMMIT_WITHOUT_END = """
import asyncio, sys
from pathlib import Path
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.sqlite import SqliteSessionStorage
from tests.contracts.session_samples import frames_of, record_of

async def main():
    storage = SqliteSessionStorage(Path(sys.argv[1]))
    await storage.open()
    for first in range(1, 10**9, 3):
        commit = SessionCommit([record_of(last_seq=first + 2)], frames_of("session", first, first + 2))
        await storage.commit(commit)
        print(first + 2, flush=True)

asyncio.run(main())
"""


def killed_after_30_commits(place: Path) -> int:
    """Another process commits until it is killed; the seq of the last event that it was told is stored."""
    command = [sys.executable, "-c", COMMIT_WITHOUT_END, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        assert process.stdout is not None
        acknowledged = [int(next(process.stdout)) for _ in range(30)]
        process.kill()
        return [*acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))][-1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "sessions.db"


@pytest.fixture
async def storage(path: Path) -> AsyncIterator[SqliteSessionStorage]:
    storage = SqliteSessionStorage(path)
    await storage.open()
    yield storage
    await storage.close()


async def seqs(storage: SqliteSessionStorage, session_id: str = "session") -> list[int | None]:
    return [frame.seq for frame in await storage.events(session_id, 0, 100_000)]


async def test_acknowledged_commits_survive_a_kill_and_none_is_torn(path: Path) -> None:
    acknowledged = await asyncio.to_thread(killed_after_30_commits, path)
    storage = SqliteSessionStorage(path)
    await storage.open()  # waits for what the killed one's server is still writing
    last_seq = (await storage.records(["session"]))["session"].last_seq
    assert last_seq >= acknowledged
    assert await seqs(storage) == list(range(1, last_seq + 1))
    await storage.close()


async def test_a_killed_server_is_started_again(storage: SqliteSessionStorage) -> None:
    await storage.commit(session_of("session", 2))
    for first in (3, 5):
        assert storage.pid is not None
        os.kill(storage.pid, signal.SIGKILL)
        await storage.commit(SessionCommit(events=frames_of("session", first, first + 1)))
    assert await seqs(storage) == [1, 2, 3, 4, 5, 6]


async def test_a_commit_whose_answer_was_lost_twice_is_made_once(
    storage: SqliteSessionStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = 0
    really_call = SqliteClient.call

    async def call(self: SqliteClient, kind: int, job: Any) -> Any:
        nonlocal lost
        answer = await really_call(self, kind, job)
        if kind == WRITE and job is not None and lost < 2:
            lost += 1
            raise ProcessEnded("killed after the commit")
        return answer

    monkeypatch.setattr(SqliteClient, "call", call)
    await storage.commit(session_of("session", 2))
    assert lost == 2
    assert await seqs(storage) == [1, 2]


async def test_a_process_that_is_killed_again_and_again_is_reported(
    storage: SqliteSessionStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call(self: SqliteClient, kind: int, job: Any) -> Any:
        raise ProcessEnded("killed before the commit")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteClient, "call", call)
        with pytest.raises(StorageUnavailable, match="killed before"):
            await storage.commit(session_of("session", 2))
    await storage.commit(session_of("session", 2))
    assert await seqs(storage) == [1, 2]


async def test_a_full_disk_is_reported_and_recovered_from(path: Path) -> None:
    storage = SqliteSessionStorage(path, pragmas={"max_page_count": 30})
    await storage.open()
    big = [Frame("session", seq, "system", b'"' + b"x" * 10_000 + b'"') for seq in range(1, 100)]
    with pytest.raises(StorageUnavailable, match="full"):
        await storage.commit(SessionCommit([record_of(name="lost")], big, []))
    assert await storage.records(["session"]) == {}
    await storage.commit(session_of("session", 1))  # room for a small one
    assert await seqs(storage) == [1]
    await storage.close()


async def test_an_io_error_is_reported_and_recovered_from(storage: SqliteSessionStorage) -> None:
    await storage.commit(session_of("session", 1))
    assert await seqs(storage) == [1]
    assert storage.pid is not None
    before = resource.prlimit(storage.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="nothing was stored"):
            await storage.commit(SessionCommit(events=frames_of("session", 2, 9)))
    assert await seqs(storage) == [1]  # it still reads
    resource.prlimit(storage.pid, resource.RLIMIT_FSIZE, before)
    await storage.commit(SessionCommit(events=frames_of("session", 2, 9)))
    assert await seqs(storage) == list(range(1, 10))


async def test_a_file_from_before_sessions_had_owners_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    tool = sqlite3.connect(path)
    migrate(tool, load_migrations(PACKAGE)[:1])
    old = record_of(last_seq=2).model_dump_json(exclude={"owner"})
    tool.execute("INSERT INTO sessions VALUES ('session', 1, 0, 'session', ?)", [old])
    tool.commit()
    tool.close()
    storage = SqliteSessionStorage(path)
    await storage.open()
    assert await storage.records(["session"]) == {"session": record_of(last_seq=2)}
    assert (await storage.sessions(SessionFilter(owner="key:ann"), 10, 0)) == ([], 0)
    owned = record_of(last_seq=2, owner="key:ann")
    await storage.commit(SessionCommit([owned]))
    assert (await storage.sessions(SessionFilter(owner="key:ann"), 10, 0)) == ([owned], 1)
    await storage.close()


async def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    path.parent.mkdir()
    tool = sqlite3.connect(path)
    tool.execute("PRAGMA user_version = 99")
    tool.close()
    storage = SqliteSessionStorage(path)
    with pytest.raises(StorageVersionError, match="version 99"):
        await storage.open()
    assert storage.pid is None


async def test_bytes_that_are_no_text_cost_no_more_than_their_event(storage: SqliteSessionStorage, path: Path) -> None:
    await storage.commit(session_of("session", 3))
    tool = sqlite3.connect(path)
    tool.execute("UPDATE events SET body = CAST(x'7b22ff227d' AS TEXT) WHERE seq = 2")
    tool.commit()
    tool.close()
    assert set(await seqs(storage)) >= {1, 3}


async def test_an_event_that_is_no_text_is_refused(storage: SqliteSessionStorage) -> None:
    with pytest.raises(StorageError, match="no UTF-8 text"):
        await storage.commit(SessionCommit([record_of()], [frame_of(1)._replace(body=b'"\xff"')]))
    assert await storage.records(["session"]) == {}


async def test_reads_and_appends_of_one_session_do_not_scan_the_others(storage: SqliteSessionStorage) -> None:
    """A bound that only a wrong plan breaks."""
    for number in range(300):
        await storage.commit(session_of(f"s{number}", 200))
    started = time.perf_counter()
    for number in range(100):
        session_id = f"s{number}"
        assert len(await storage.last_events(session_id, 10)) == 10
        assert len(await storage.events(session_id, 150, 100)) == 50
        await storage.commit(SessionCommit([record_of(session_id)], [frame_of(201, session_id)]))
        await storage.commit(SessionCommit(deleted=[session_id]))
    assert (await storage.sessions(SessionFilter(), 10, 0))[1] == 200
    assert time.perf_counter() - started < 10
