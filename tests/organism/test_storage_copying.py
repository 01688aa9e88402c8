from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import NewKey, issue
from organism.access.principal import Bounds, Role
from organism.errors import StorageError
from organism.messages import Message
from organism.storage import copying
from organism.storage.access.base import AccessStorage
from organism.storage.access.memory import MemoryAccessStorage
from organism.storage.access.sqlite import SqliteAccessStorage
from organism.storage.base import Commit, Storage
from organism.storage.copying import (
    access_is_empty,
    copy_access,
    copy_log,
    copy_sessions,
    log_is_empty,
    sessions_are_empty,
)
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.base import SessionCommit, SessionStorage
from organism.storage.sessions.file import FileSessionStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.storage.sessions.sqlite import SqliteSessionStorage
from organism.storage.sqlite import SqliteStorage
from organism.threads import Todo
from tests.contracts import test_session_storage_model as session_model
from tests.contracts import test_storage_model as log_model
from tests.contracts.session_samples import frames_of, record_of, session_of
from tests.storage_samples import NOW_MS, letter_of, message, queue_of, thread

TODAY = "2026-11-21"
UNSYNCED = {"synchronous": "off"}
LOGS: dict[str, Callable[[Path], Storage]] = {
    "memory": lambda folder: MemoryStorage(),
    "sqlite": lambda folder: SqliteStorage(folder / "organism.db", pragmas=UNSYNCED),
}
SESSIONS: dict[str, Callable[[Path], SessionStorage]] = {
    "memory": lambda folder: MemorySessionStorage(),
    "file": lambda folder: FileSessionStorage(folder / "sessions"),
    "sqlite": lambda folder: SqliteSessionStorage(folder / "sessions.db", pragmas=UNSYNCED),
}
ACCESS: dict[str, Callable[[Path], AccessStorage]] = {
    "memory": lambda folder: MemoryAccessStorage(),
    "sqlite": lambda folder: SqliteAccessStorage(folder / "access.db"),
}
LOG_PAIRS = [("memory", "sqlite"), ("sqlite", "memory"), ("sqlite", "sqlite")]
SESSION_PAIRS = [("memory", "file"), ("file", "sqlite"), ("sqlite", "file"), ("sqlite", "memory")]


@asynccontextmanager
async def two(makers: dict[str, Callable[[Path], Any]], pair: tuple[str, str]) -> AsyncIterator[tuple[Any, Any]]:
    """Two open stores in folders of their own."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        stores = makers[pair[0]](Path(one)), makers[pair[1]](Path(other))
        try:
            for store in stores:
                await store.open()
            yield stores
        finally:
            for store in stores:
                await store.close()


def untold(name: str, number: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "MESSAGES_PER_PAGE", 3)
    monkeypatch.setattr(copying, "RECORDS_PER_PAGE", 2)


# The log


async def fill(log: Storage) -> list[Message]:
    entries = [message(seq, f"thread-{seq % 5}", recipient="ab"[seq % 2]) for seq in range(1, 21)]
    await log.commit(queue_of(*entries))
    gone = entries[3:6]
    places = [(each.recipient, each.seq) for each in [*gone, entries[0]]]
    letters = [letter_of(each, f"reason {each.seq}", attempts=each.seq, died_ms=NOW_MS - each.seq) for each in gone]
    todos = [Todo("id", "a", "Greeting", None, "wait", raised=True)]
    threads = [
        thread(f"thread-{number}", status="completed", participants=["a"], states={"a": b'{"x": 1}'}, todos=todos,
               tokens={"a": 7}, error="it went wrong", message_count=4, pending=3, owner="key:ci")
        for number in range(5)
    ]  # fmt: skip
    await log.commit(Commit(done=places, dead=letters, dropped=[entries[9].seq], threads=threads))
    await log.commit(Commit(deaths=[("a", 8, 2)], settings={"paused": '["a"]', "empty": ""}))
    return entries


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("pair", LOG_PAIRS)
async def test_everything_of_a_log_survives(pair: tuple[str, str]) -> None:
    async with two(LOGS, pair) as (source, target):
        entries = await fill(source)
        told: dict[str, int] = {}
        counts = await copy_log(source, target, told.__setitem__)
        assert counts == told == {
            "messages": 20, "threads": 5, "queued": 16, "dead_letters": 3, "settings": 2,
        }  # fmt: skip
        assert await log_model.picture(target) == await log_model.picture(source)
        letter = await target.dead_letter(entries[4].id)
        assert (letter.reason, letter.attempts, letter.message.fate) == ("reason 5", 5, "dead")
        assert [each.deaths for each in await target.queued("a", 7, 1)] == [2]
        assert (await target.threads_by_id(["thread-1"]))["thread-1"].todos[0].raised
        assert (await target.threads_by_id(["thread-1"]))["thread-1"].owner == "key:ci"
        await target.commit(queue_of(message(21, "thread-1")))  # the log goes on where it was


@settings(max_examples=10, deadline=None)
@given(made=st.lists(log_model.recipes, min_size=1, max_size=5))
async def test_a_copied_log_reads_the_same_whatever_was_committed(made: list[dict[str, Any]]) -> None:
    async with two(LOGS, ("memory", "sqlite")) as (source, target):
        log = log_model.Log()
        for recipe in made:
            dead = {seq for seq, *_ in recipe["dead"]}
            commit = log.commit({**recipe, "slot_error": False, "dropped": []})  # what is dead is never dropped too
            commit.requeued = [seq for seq in commit.requeued if seq not in dead]
            await source.commit(commit)
            log.messages += commit.messages
        await copy_log(source, target, untold)
        assert await log_model.picture(target) == await log_model.picture(source)


async def test_an_empty_store_is_told_from_one_that_is_not() -> None:
    for commit in (
        queue_of(message(1)), Commit(messages=[message(1)]), Commit(threads=[thread()]), Commit(settings={"a": "b"}),
    ):  # fmt: skip
        log = MemoryStorage()
        assert await log_is_empty(log)
        await log.commit(commit)
        assert not await log_is_empty(log)
    sessions = MemorySessionStorage()
    assert await sessions_are_empty(sessions)
    await sessions.commit(SessionCommit([record_of()]))
    assert not await sessions_are_empty(sessions)


async def test_a_copy_that_is_not_whole_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = MemoryStorage(), MemoryStorage()
    await fill(source)
    really_commit = target.commit

    async def commit(commit: Commit) -> None:
        commit.deaths, commit.queued = [], commit.queued[1:]
        await really_commit(commit)

    monkeypatch.setattr(target, "commit", commit)
    with pytest.raises(StorageError, match="totals of the log is not that of the original"):
        await copy_log(source, target, untold)


# Sessions


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("pair", SESSION_PAIRS)
async def test_everything_of_sessions_survives(pair: tuple[str, str]) -> None:
    async with two(SESSIONS, pair) as (source, target):
        for number in range(7):
            await source.commit(session_of(f"s{number}", number * 2, name=f"name {number}", updated_at=number % 3))
        told: dict[str, int] = {}
        counts = await copy_sessions(source, target, told.__setitem__)
        assert counts == told == {"events": 42, "sessions": 7}
        for number in range(7):
            assert await target.events(f"s{number}", 0, 100) == await source.events(f"s{number}", 0, 100)
        assert await session_model.picture(target) == await session_model.picture(source)
        await target.commit(SessionCommit([record_of("s1", last_seq=3)], frames_of("s1", 3, 3)))
        assert len(await target.events("s1", 0, 100)) == 3


@pytest.mark.parametrize("pair", [("memory", "file"), ("memory", "sqlite")])
@settings(max_examples=10, deadline=None)
@given(made=st.lists(session_model.recipes, min_size=1, max_size=5))
async def test_copied_sessions_read_the_same_whatever_was_committed(
    pair: tuple[str, str], made: list[dict[str, Any]]
) -> None:
    async with two(SESSIONS, pair) as (source, target):
        numbers = session_model.Numbers()
        for recipe in made:
            await source.commit(numbers.commit(recipe))
        listed = {record.id for record in (await source.sessions(session_model.FILTERS[0], 100, 0))[0]}
        await source.commit(SessionCommit(deleted=[each for each in session_model.SESSIONS if each not in listed]))
        await copy_sessions(source, target, untold)
        assert await session_model.picture(target) == await session_model.picture(source)


async def test_sessions_that_are_not_copied_whole_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = MemorySessionStorage(), MemorySessionStorage()
    await source.commit(session_of("session", 5))
    really_commit = target.commit

    async def commit(commit: SessionCommit) -> None:
        await really_commit(SessionCommit(commit.records, commit.events[:-1]))

    monkeypatch.setattr(target, "commit", commit)
    with pytest.raises(StorageError, match="newest event of session session is not that of the original"):
        await copy_sessions(source, target, untold)


# Keys, audit log and today's tokens


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("pair", LOG_PAIRS)
async def test_keys_audit_log_and_today_s_tokens_survive(pair: tuple[str, str]) -> None:
    async with two(ACCESS, pair) as (source, target):
        keys = [issue(NewKey("ci", Role.ADMIN, Bounds(frozenset("a"))), at).key for at in (1, 2)]
        await source.add_key(keys[0])
        await source.revoke_key(keys[0].id, NOW_MS)
        await source.add_key(keys[1])
        records = [AuditRecord(NOW_MS, "key:ci", "pause", f"t{number}", "::1", "ok") for number in range(5)]
        await source.append_audit(records)
        for principal, day in (("key:ci", TODAY), ("user:ann", TODAY), ("key:ci", "2026-11-20")):
            await source.add_tokens(principal, day, 7)
        assert await access_is_empty(target, TODAY)
        counts = await copy_access(source, target, untold, TODAY)
        assert counts == {"keys": 2, "audit_records": 5, "token_counts": 2}
        assert not await access_is_empty(target, TODAY)
        assert await target.tokens_of_day(TODAY) == {"key:ci": 7, "user:ann": 7}
        assert await target.keys() == [keys[0]._replace(revoked_at=NOW_MS), keys[1]]
        assert await target.audit(AuditFilter(), 10) == await source.audit(AuditFilter(), 10)


async def test_today_s_tokens_are_never_added_to_others() -> None:
    access = MemoryAccessStorage()
    await access.add_tokens("key:ci", TODAY, 1)
    assert not await access_is_empty(access, TODAY)


async def test_tokens_that_are_not_copied_whole_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = MemoryAccessStorage(), MemoryAccessStorage()
    await source.add_tokens("key:ci", TODAY, 7)

    async def add_tokens(principal: str, day: str, tokens: int) -> int:
        return 0

    monkeypatch.setattr(target, "add_tokens", add_tokens)
    with pytest.raises(StorageError, match="number of tokens used today is not that of the original"):
        await copy_access(source, target, untold, TODAY)
