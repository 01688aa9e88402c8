"""What only the JSON Lines provider does; the rest is in tests/contracts/test_session_storage.py."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from organism.errors import StorageUnavailable
from organism.sessions.records import SessionFilter
from organism.storage.sessions import session_log
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.file import FileSessionStorage
from tests.contracts.session_samples import frame_of, frames_of, record_of, session_of

COMMIT_WITHOUT_END = """
import asyncio, sys
from pathlib import Path
from organism.storage.sessions.base import SessionCommit
from organism.storage.sessions.file import FileSessionStorage
from tests.contracts.session_samples import frames_of, record_of

async def main():
    storage = FileSessionStorage(Path(sys.argv[1]))
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
def folder(tmp_path: Path) -> Path:
    return tmp_path / "organism" / "sessions"


@pytest.fixture
async def storage(folder: Path) -> AsyncIterator[FileSessionStorage]:
    storage = FileSessionStorage(folder)
    await storage.open()
    yield storage
    await storage.close()


async def reopened(storage: FileSessionStorage) -> FileSessionStorage:
    await storage.close()
    await storage.open()
    return storage


async def seqs(storage: FileSessionStorage, session_id: str = "session") -> list[int | None]:
    return [frame.seq for frame in await storage.events(session_id, 0, 100_000)]


class BrokenDisk:
    """Takes the place of `os` in session_log.py: `write` takes `room` more bytes; what is in `failing` fails."""

    def __init__(self, room: int = 2**60, failing: frozenset[str] = frozenset()) -> None:
        self.room = room
        self.failing = failing

    def __getattr__(self, name: str) -> Any:
        if name in self.failing:
            return self._fail
        return getattr(os, name)

    def write(self, descriptor: int, content: memoryview) -> int:
        if not self.room:
            self._fail()
        written = os.write(descriptor, content[: self.room])
        self.room -= written
        return written

    def _fail(self, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


# The files


async def test_a_session_is_a_file_of_json_lines(storage: FileSessionStorage, folder: Path) -> None:
    commit = session_of("session", 2)
    await storage.commit(commit)
    first, second, third = map(orjson.loads, (folder / "session.jsonl").read_bytes().splitlines())
    assert [first["seq"], first["type"], first["event"]] == [1, "user_message", orjson.loads(commit.events[0].body)]
    assert second["seq"] == 2
    assert third == {"record": orjson.loads(commit.records[0].model_dump_json())}


async def test_files_are_appended_to_and_never_rewritten(storage: FileSessionStorage, folder: Path) -> None:
    file = folder / "session.jsonl"
    await storage.commit(session_of("session", 2))
    before, inode = file.read_bytes(), file.stat().st_ino
    await storage.commit(SessionCommit([record_of(last_seq=3)], [frame_of(3)]))
    await storage.commit(SessionCommit([record_of(name="new")]))
    assert file.read_bytes().startswith(before)
    assert file.read_bytes().count(b"\n") == 6
    assert file.stat().st_ino == inode


async def test_a_deleted_session_leaves_no_file(storage: FileSessionStorage, folder: Path) -> None:
    file = folder / "a.jsonl"
    await storage.commit(session_of("a", 1))
    assert file.exists()
    await storage.commit(SessionCommit(deleted=["a"]))
    assert not file.exists()


async def test_other_files_in_the_folder_are_left_alone(storage: FileSessionStorage, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "my notes.jsonl").write_text("mine")
    (folder / "folder.jsonl").mkdir()
    await reopened(storage)
    assert (await storage.sessions(SessionFilter(), 10, 0))[1] == 0
    assert (folder / "my notes.jsonl").read_text() == "mine"


# Torn writes


async def test_a_write_cut_off_anywhere_counts_not_at_all(storage: FileSessionStorage, folder: Path) -> None:
    """As a power cut leaves it: any number of bytes of the last write are there."""
    file = folder / "session.jsonl"
    await storage.commit(session_of("session", 2, name="kept"))
    whole = file.read_bytes()
    await storage.commit(SessionCommit([record_of(last_seq=4, name="torn")], frames_of("session", 3, 4)))
    torn = file.read_bytes()
    for size in range(len(whole), len(torn)):
        await storage.close()
        file.write_bytes(torn[:size])
        await storage.open()
        assert await seqs(storage) == [1, 2]
        assert (await storage.records(["session"]))["session"].name == "kept"
        assert file.read_bytes() == whole
    await storage.commit(SessionCommit([record_of(last_seq=3)], [frame_of(3)]))
    assert await seqs(await reopened(storage)) == [1, 2, 3]


@pytest.mark.parametrize("garbage", [b"\0" * 5000, b'{"seq":3,"type"', b"\xff\xfe"])
async def test_garbage_at_the_end_is_cut_off(storage: FileSessionStorage, folder: Path, garbage: bytes) -> None:
    file = folder / "session.jsonl"
    await storage.commit(session_of("session", 2))
    whole = file.read_bytes()
    await storage.close()
    file.write_bytes(whole + garbage)
    await storage.open()
    assert file.read_bytes() == whole
    await storage.commit(SessionCommit(events=[frame_of(3)]))
    assert await seqs(await reopened(storage)) == [1, 2, 3]


async def test_a_file_that_was_only_made_holds_nothing(storage: FileSessionStorage, folder: Path) -> None:
    await storage.close()
    (folder / "session.jsonl").write_bytes(b'{"more":true,"seq":1,')
    await storage.open()
    assert (await storage.sessions(SessionFilter(), 10, 0)) == ([], 0)
    await storage.commit(session_of("session", 2))
    assert await seqs(await reopened(storage)) == [1, 2]


async def test_garbage_between_lines_costs_itself(
    storage: FileSessionStorage, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "session.jsonl"
    await storage.commit(session_of("session", 2))
    await storage.close()
    content = file.read_bytes().splitlines(keepends=True)
    content[1:1] = [
        b"\n",
        b"\xff\n",
        b"[]\n",
        b'{"seq":"x"}\n',
        b'{"record":{}}\n',
        b'{"seq":0,"type":"a","event":1}\n',
    ]
    file.write_bytes(b"".join(content))
    await storage.open()
    assert await seqs(storage) == [1, 2]
    assert (await storage.records(["session"]))["session"].last_seq == 2
    assert "cannot be read" in caplog.text


async def test_where_the_newest_record_is_damaged_the_one_before_counts(
    storage: FileSessionStorage, folder: Path
) -> None:
    await storage.commit(SessionCommit([record_of(name="old")]))
    await storage.commit(SessionCommit([record_of(name="new")]))
    await storage.close()
    file = folder / "session.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"name":"new"', b'"name":7'))
    await storage.open()
    assert (await storage.records(["session"]))["session"].name == "old"


# A disk that fails


@pytest.mark.parametrize(
    "disk",
    [
        BrokenDisk(room=0),
        BrokenDisk(room=100),
        BrokenDisk(failing=frozenset({"fsync"})),
        BrokenDisk(room=100, failing=frozenset({"truncate"})),
        BrokenDisk(failing=frozenset({"open"})),
    ],
    ids=["full", "full in the middle", "fsync", "cannot be undone", "cannot be opened"],
)
async def test_a_write_that_fails_leaves_nothing(
    storage: FileSessionStorage, monkeypatch: pytest.MonkeyPatch, disk: BrokenDisk
) -> None:
    await storage.commit(session_of("session", 2, name="kept"))
    failing = SessionCommit([record_of(last_seq=4, name="lost")], frames_of("session", 3, 4))
    with monkeypatch.context() as patched:
        patched.setattr(session_log, "os", disk)
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="No space left"):
                await storage.commit(failing)
        assert await seqs(storage) == [1, 2]  # it still reads
    assert (await storage.records(["session"]))["session"].name == "kept"
    other = frame_of(3, text="after the disk was healed")
    await storage.commit(SessionCommit([record_of(last_seq=3)], [other]))
    assert (await storage.events("session", 2, 10)) == [other]
    assert await seqs(await reopened(storage)) == [1, 2, 3]


async def test_of_a_commit_that_fails_no_session_is_kept(
    storage: FileSessionStorage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.commit(session_of("a", 1))
    before = (folder / "a.jsonl").read_bytes()
    both = SessionCommit([record_of("b")], [frame_of(2, "a"), frame_of(1, "b")])
    with monkeypatch.context() as patched:
        patched.setattr(session_log, "os", BrokenDisk(room=300))
        with pytest.raises(StorageUnavailable):
            await storage.commit(both)
    assert (folder / "a.jsonl").read_bytes() == before
    assert not (folder / "b.jsonl").exists()
    await storage.commit(both)
    assert [await seqs(storage, "a"), await seqs(storage, "b")] == [[1, 2], [1]]


async def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageUnavailable, match="file"):
        await FileSessionStorage(tmp_path / "file" / "sessions").open()


async def test_acknowledged_commits_survive_a_kill(folder: Path) -> None:
    acknowledged = await asyncio.to_thread(killed_after_30_commits, folder)
    storage = FileSessionStorage(folder)
    await storage.open()
    last_seq = (await storage.records(["session"]))["session"].last_seq
    assert last_seq >= acknowledged
    assert await seqs(storage) == list(range(1, last_seq + 1))
    await storage.close()
