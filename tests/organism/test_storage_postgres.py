"""What is special to PostgreSQL: its faults, its lock, its texts. The rest is in tests/contracts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from organism_folder import check_log, listener, running, until, write_organism

from organism.errors import StorageError, StorageLocked, StorageUnavailable, StorageVersionError
from organism.storage.base import Commit, MessageFilter
from organism.storage.postgres import PostgresStorage
from organism.storage.postgres_errors import masked
from organism.storage.sessions.postgres import PostgresSessionStorage
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server, postgres_url, started_server
from tests.storage_samples import letter_of, message, queue_of, thread

__all__ = ["postgres_server", "postgres_url"]

END_WRITERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def storage(postgres_url: str) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(postgres_url)
    await storage.open()
    yield storage
    await storage.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """One that a test may kill."""
    with started_server() as server:
        yield server


async def last_seq(storage: PostgresStorage) -> int:
    return (await storage.totals()).last_seq


# Faults


async def test_a_server_that_is_killed_and_started_again_has_lost_nothing_acknowledged(
    own_server: PostgresServer,
) -> None:
    storage = PostgresStorage(own_server.new_database())
    await storage.open()
    acknowledged = 0

    async def write() -> None:
        nonlocal acknowledged
        while True:
            await storage.commit(queue_of(message(acknowledged + 1)))
            acknowledged += 1

    writing = asyncio.create_task(write())
    await until(lambda: acknowledged >= 20)
    await asyncio.to_thread(own_server.kill)
    with pytest.raises(StorageUnavailable):
        await writing
    before_s = time.monotonic()
    with pytest.raises(StorageUnavailable) as raised:
        await storage.commit(queue_of(message(acknowledged + 1)))
    assert PASSWORD not in str(raised.value)
    with pytest.raises(StorageUnavailable):
        await storage.messages(MessageFilter(), 10)
    assert time.monotonic() - before_s < 5
    await asyncio.to_thread(own_server.start)
    stored = await last_seq(storage)
    assert acknowledged <= stored <= acknowledged + 1
    await storage.commit(queue_of(message(stored + 1)))
    assert await last_seq(storage) == stored + 1
    await storage.close()


@pytest.mark.parametrize("end", [END_WRITERS, END_ALL], ids=["the writer", "all"])
async def test_connections_that_were_ended_are_made_again(
    storage: PostgresStorage, postgres_server: PostgresServer, postgres_url: str, end: str
) -> None:
    await storage.commit(queue_of(message(1)))
    assert await last_seq(storage) == 1
    postgres_server.execute(end, postgres_url)
    try:
        await storage.commit(queue_of(message(2)))
    except StorageUnavailable:  # the end was noticed only by the commit
        await storage.commit(queue_of(message(2)))
    assert await last_seq(storage) == 2


@pytest.mark.parametrize("lose", ["before", "after"])
async def test_a_commit_whose_answer_was_lost_is_made_once(storage: PostgresStorage, lose: str) -> None:
    """The connection breaks before COMMIT reaches the server, or before its answer comes back."""
    await storage.commit(queue_of(message(1)))
    writer = storage._store._writer
    execute = writer.execute

    async def break_at_commit(statement: str, *values: object) -> str:
        if statement == "COMMIT":
            if lose == "after":
                await execute(statement)
            writer.terminate()
            raise ConnectionResetError
        return await execute(statement, *values)

    storage._store._writer = _Breaking(writer, break_at_commit)
    await storage.commit(queue_of(message(2)))
    await storage.commit(queue_of(message(3)))
    assert [each.seq for each in await storage.message_page(MessageFilter(), 10)] == [1, 2, 3]


class _Breaking:
    """A connection whose `execute` is another."""

    def __init__(self, connection: object, execute: Callable[..., object]) -> None:
        self._connection = connection
        self.execute = execute

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


async def test_a_commit_that_is_cancelled_does_not_confuse_the_next(storage: PostgresStorage) -> None:
    for _ in range(5):
        seq = await last_seq(storage) + 1
        committing = asyncio.create_task(storage.commit(queue_of(*(message(seq + each) for each in range(100)))))
        await asyncio.sleep(0.002)
        committing.cancel()
        await asyncio.wait([committing])
        await storage.commit(Commit(settings={"paused": "[]"}))
        assert await last_seq(storage) in (seq - 1, seq + 99)


# Opening


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
async def test_both_forms_of_the_url_are_understood(postgres_url: str, scheme: str) -> None:
    storage = PostgresStorage(postgres_url.replace("postgresql", scheme, 1))
    assert (await storage.open()).last_seq == 0
    await storage.close()


async def test_what_cannot_be_reached_is_said_without_the_password(postgres_server: PostgresServer) -> None:
    elsewhere = postgres_server.url().replace(str(postgres_server.port), "1")
    urls = [elsewhere, postgres_server.url("missing"), postgres_server.url(password="wrong-" + PASSWORD)]
    for url in urls:
        with pytest.raises(StorageUnavailable) as raised:
            await PostgresStorage(url).open()
        assert PASSWORD not in str(raised.value)
        assert "postgresql://postgres@127.0.0.1" in str(raised.value)


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "postgresql://u:sec/ret@h:5432/d", "secret", ""])
async def test_a_url_that_is_none_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(StorageError) as raised:
        await PostgresStorage(url).open()
    assert "secret@" not in str(raised.value)
    assert "ret@" not in str(raised.value)


def test_a_url_is_shown_without_password_and_options() -> None:
    assert masked("postgres://me:pw@host:5433/db?password=pw") == "postgresql://me@host:5433/db"
    assert masked("postgresql://me:p[w@host/db") == "postgresql://***"


async def test_a_second_organism_is_refused_while_the_first_is_there(
    storage: PostgresStorage, postgres_url: str
) -> None:
    second = PostgresStorage(postgres_url)
    with pytest.raises(StorageLocked) as raised:
        await second.open()
    assert PASSWORD not in str(raised.value)
    await second.close()
    await storage.commit(queue_of(message(1)))
    await storage.close()
    assert (await second.open()).last_seq == 1
    await second.close()


async def test_an_organism_that_lost_its_lock_to_another_writes_no_more(
    storage: PostgresStorage, postgres_server: PostgresServer, postgres_url: str
) -> None:
    postgres_server.execute(END_WRITERS, postgres_url)
    second = PostgresStorage(postgres_url)
    await second.open()
    for _ in range(2):
        with pytest.raises((StorageUnavailable, StorageLocked)):
            await storage.commit(queue_of(message(1)))
    await second.close()
    with pytest.raises(StorageLocked):
        await storage.commit(queue_of(message(1)))
    assert await last_seq(storage) == 0


async def test_a_log_from_before_threads_had_owners_is_brought_up_to_date(
    storage: PostgresStorage, postgres_server: PostgresServer, postgres_url: str
) -> None:
    await storage.commit(Commit(threads=[thread()]))
    await storage.close()
    postgres_server.execute("ALTER TABLE organism.threads DROP COLUMN owner", postgres_url)
    postgres_server.execute("UPDATE organism.stores SET version = 1 WHERE name = 'log'", postgres_url)
    assert (await storage.open()).active_threads == 1
    assert await storage.threads_by_id(["thread"]) == {"thread": thread()}
    await storage.commit(Commit(threads=[thread(owner="key:ci")]))
    assert await storage.threads_by_id(["thread"]) == {"thread": thread(owner="key:ci")}


async def test_a_log_of_a_newer_version_is_refused(
    storage: PostgresStorage, postgres_server: PostgresServer, postgres_url: str
) -> None:
    await storage.close()
    postgres_server.execute("UPDATE organism.stores SET version = 99", postgres_url)
    with pytest.raises(StorageVersionError):
        await storage.open()


async def test_log_and_sessions_share_a_database(storage: PostgresStorage, postgres_url: str) -> None:
    sessions = PostgresSessionStorage(postgres_url)
    await sessions.open()
    await storage.commit(queue_of(message(1)))
    await sessions.close()


# Texts


async def test_texts_with_nul_are_kept_and_searching_for_them_finds_nothing(storage: PostgresStorage) -> None:
    entry = message(1)
    commit = Commit([entry], dead=[letter_of(entry, "a\0b")], threads=[thread("a", error="c\0d", status="error")])
    await storage.commit(commit)
    assert (await storage.dead_letters(None, 1, 0))[0][0].reason == "a\0b"
    assert (await storage.threads_by_id(["a", "\0", "\udcff"]))["a"].error == "c\0d"
    assert await storage.dead_letter("\0") is None
    assert await storage.messages(MessageFilter(agents=("\0",), threads=("\udcff",)), 10) == ([], 0)


async def test_a_name_with_nul_is_refused_and_the_next_commit_works(storage: PostgresStorage) -> None:
    with pytest.raises(StorageError):
        await storage.commit(queue_of(message(1, recipient="a\0")))
    await storage.commit(queue_of(message(1)))


# All of it


async def test_an_organism_runs_on_it(tmp_path: Path, postgres_url: str) -> None:
    handlers = "async def ping(message, context):\n    return Reply(Pong(text=message.text))\n"
    path = write_organism(tmp_path / "organism", handlers, listener("ping"))
    async with running(path, PostgresStorage(postgres_url)) as organism:
        for number in range(3):
            await organism.inject_all("ping", [f"{number}-{each}" for each in range(50)])
        await organism.idle()
        log = await check_log(organism.storage)
    assert len(log) >= 300
