"""What every storage of access control promises."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey, NewKey, issue
from organism.access.principal import Bounds, Role
from organism.errors import KeyExists, StorageError
from organism.storage.access.base import AccessStorage
from organism.storage.access.memory import MemoryAccessStorage
from organism.storage.access.postgres import PostgresAccessStorage
from organism.storage.access.sqlite import SqliteAccessStorage
from tests.postgres_server import PostgresServer

NOW_MS = 1_700_000_000_000
ALL = AuditFilter()


class Medium:
    """Where one store is: each `storage` is another process's view of it. `change` runs SQL behind their backs."""

    def __init__(
        self, storage: Callable[[], AccessStorage], change: Callable[[str], object], keys: str, audit: str
    ) -> None:
        self.storage = storage
        self.change = change
        self.keys = keys
        self.audit = audit


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> Medium:
    if request.param == "memory":
        memory = MemoryAccessStorage()
        return Medium(lambda: memory, pytest.fail, "", "")
    if request.param == "sqlite":
        path = tmp_path / "access" / "access.db"
        return Medium(lambda: SqliteAccessStorage(path), lambda sql: change_file(path, sql), "keys", "audit")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.new_database()
    tables = "organism.access_keys", "organism.audit"
    return Medium(lambda: PostgresAccessStorage(url), lambda sql: server.execute(sql, url), *tables)


only_databases = pytest.mark.parametrize("medium", ["sqlite", "postgres"], indirect=True)


def change_file(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.execute(sql)
        connection.commit()
    finally:
        connection.close()


@pytest.fixture
async def opened(medium: Medium) -> AsyncIterator[Callable[[], Awaitable[AccessStorage]]]:
    """Opens the medium once more, as another process would."""
    storages: list[AccessStorage] = []

    async def open_one() -> AccessStorage:
        storage = medium.storage()
        storages.append(storage)
        await storage.open()
        return storage

    yield open_one
    for storage in storages:
        await storage.close()


@pytest.fixture
async def storage(opened: Callable[[], Awaitable[AccessStorage]]) -> AccessStorage:
    return await opened()


def key_of(name: str = "ci", at: int = NOW_MS, **changes: object) -> ApiKey:
    return issue(NewKey(name, Role.OPERATOR), at).key._replace(**changes)


def record_of(at: int = NOW_MS, who: str = "key:ci", action: str = "pause", **changes: object) -> AuditRecord:
    return AuditRecord(at, who, action, "greeter", "127.0.0.1", "ok")._replace(**changes)


async def test_a_new_storage_is_empty(storage: AccessStorage) -> None:
    assert await storage.keys() == []
    assert await storage.audit(ALL, 10) == []
    assert await storage.tokens("key:ci", "2026-11-21") == 0


async def test_keys_come_back_as_they_were_the_oldest_first(opened: Callable[[], Awaitable[AccessStorage]]) -> None:
    storage = await opened()
    bounds = Bounds(frozenset({"a", "ö"}), frozenset(), frozenset({"*"}))
    keys = [
        key_of("later", NOW_MS + 2),
        key_of("bound", NOW_MS + 1, bounds=bounds, role=Role.VIEWER, expires_at=2**45, last_used_at=7),
        key_of("nothing", NOW_MS, bounds=Bounds(), role=Role.ADMIN),
        key_of("same time", NOW_MS),
    ]
    for key in keys:
        await storage.add_key(key)
    expected = sorted(keys, key=lambda key: key.created_at)
    assert await storage.keys() == expected
    await storage.close()
    assert await (await opened()).keys() == expected


async def test_the_name_of_a_revoked_key_is_free_again(storage: AccessStorage) -> None:
    first, second = key_of(), key_of(at=NOW_MS + 1)
    await storage.add_key(first)
    with pytest.raises(KeyExists, match="'ci' is in use"):
        await storage.add_key(second)
    await storage.revoke_key(first.id, NOW_MS + 5)
    await storage.add_key(second)
    assert await storage.keys() == [first._replace(revoked_at=NOW_MS + 5), second]


async def test_to_revoke_what_is_revoked_or_no_key_changes_nothing(storage: AccessStorage) -> None:
    key = key_of()
    await storage.add_key(key)
    await storage.revoke_key(key.id, 1)
    await storage.revoke_key(key.id, 2)
    await storage.revoke_key("nothing", 3)
    assert await storage.keys() == [key._replace(revoked_at=1)]


async def test_of_many_who_add_one_name_at_once_one_succeeds(opened: Callable[[], Awaitable[AccessStorage]]) -> None:
    storages = [await opened() for _ in range(4)]
    added = await asyncio.gather(*(each.add_key(key_of()) for each in storages), return_exceptions=True)
    assert [type(each) for each in added].count(KeyExists) == 3
    assert len(await storages[0].keys()) == 1


async def test_the_version_tells_of_keys_whoever_changed_them(opened: Callable[[], Awaitable[AccessStorage]]) -> None:
    mine, other = await opened(), await opened()
    key, versions = key_of(), [await mine.version()]
    assert await mine.version() == versions[0]
    await mine.add_key(key)
    versions.append(await mine.version())
    await other.add_key(key_of("second"))
    versions.append(await mine.version())
    await other.revoke_key(key.id, NOW_MS)
    versions.append(await mine.version())
    assert len(set(versions)) == 4
    await other.note_uses({key.id: NOW_MS})
    await other.append_audit([record_of()])
    assert await mine.version() == versions[-1]


async def test_uses_only_go_forward(storage: AccessStorage) -> None:
    key, other = key_of(), key_of("other")
    await storage.add_key(key)
    await storage.add_key(other)
    await storage.note_uses({key.id: 5, "nothing": 9})
    await storage.note_uses({key.id: 3})
    await storage.note_uses({})
    assert {each.name: each.last_used_at for each in await storage.keys()} == {"ci": 5, "other": None}


async def test_audit_is_read_by_pages_the_newest_first(opened: Callable[[], Awaitable[AccessStorage]]) -> None:
    storage = await opened()
    await storage.append_audit([record_of(NOW_MS + number, target=f"t{number}") for number in range(5)])
    await (await opened()).append_audit([record_of(NOW_MS + 5, target="t5", detail="Grüße 🐙")])
    await storage.append_audit([])
    newest = await storage.audit(ALL, 2)
    assert [each.target for each in newest] == ["t5", "t4"]
    assert newest[0].detail == "Grüße 🐙"
    older = await storage.audit(AuditFilter(before=newest[-1].seq), 10)
    assert [each.target for each in older] == ["t3", "t2", "t1", "t0"]
    assert [each.seq for each in await storage.audit(AuditFilter(after=older[0].seq), 10)] == [
        each.seq for each in newest
    ]
    between = AuditFilter(before=newest[0].seq, after=older[0].seq)
    assert [each.target for each in await storage.audit(between, 10)] == ["t4"]
    seqs = [each.seq for each in [*newest, *older]]
    assert seqs == sorted(set(seqs), reverse=True)
    assert seqs[-1] > 0


async def test_who_follows_audit_misses_nothing_that_several_append(
    opened: Callable[[], Awaitable[AccessStorage]],
) -> None:
    reader, *writers = [await opened() for _ in range(3)]

    async def append(writer: AccessStorage, name: str) -> None:
        for number in range(50):
            await writer.append_audit([record_of(target=f"{name}{number}-{each}") for each in range(3)])

    seen: list[AuditRecord] = []
    appending = asyncio.gather(*(append(writer, name) for writer, name in zip(writers * 2, "abcd", strict=True)))
    while True:
        await asyncio.sleep(0)
        had_ended = appending.done()
        new = await reader.audit(AuditFilter(after=seen[-1].seq if seen else 0), 1000)
        seen += reversed(new)
        if had_ended and not new:
            break
    await appending
    assert len(seen) == len({each.target for each in seen}) == 600


async def test_conditions_of_audit_hold_together(storage: AccessStorage) -> None:
    await storage.append_audit(
        [
            record_of(NOW_MS, "key:a", "pause"),
            record_of(NOW_MS + 1, "key:a", "kill", outcome="refused"),
            record_of(NOW_MS + 2, "key:b", "kill"),
            record_of(NOW_MS + 3, "", "login", outcome="refused"),
        ]
    )

    async def times(**where: object) -> list[int]:
        return [each.at - NOW_MS for each in await storage.audit(ALL._replace(**where), 10)]

    assert await times(who="key:a") == [1, 0]
    assert await times(action="kill") == [2, 1]
    assert await times(outcome="refused") == [3, 1]
    assert await times(since=NOW_MS + 2) == [3, 2]
    assert await times(who="key:a", action="kill", outcome="refused", since=NOW_MS) == [1]
    assert await times(who="key:b", outcome="refused") == []


async def test_texts_from_elsewhere_may_be_odd(storage: AccessStorage) -> None:
    who = "user:\ud800\0x"
    await storage.append_audit([record_of(who=who, target="\udfff\0", detail="\0")])
    assert len(await storage.audit(AuditFilter(who=who), 10)) == 1
    assert await storage.add_tokens(who, "2026-11-21", 3) == 3
    assert await storage.tokens(who, "2026-11-21") == 3
    [(stored, tokens)] = (await storage.tokens_of_day("2026-11-21")).items()
    assert (tokens, await storage.tokens(stored, "2026-11-21")) == (3, 3)


async def test_tokens_are_counted_by_principal_and_day(opened: Callable[[], Awaitable[AccessStorage]]) -> None:
    storage = await opened()
    assert await storage.add_tokens("key:a", "2026-11-21", 3) == 3
    assert await storage.add_tokens("key:a", "2026-11-21", 2**40) == 2**40 + 3
    assert await storage.add_tokens("key:a", "2026-11-22", 1) == 1
    assert await storage.add_tokens("key:b", "2026-11-21", 5) == 5
    other = await opened()
    assert await other.tokens("key:a", "2026-11-21") == 2**40 + 3
    assert await other.tokens_of_day("2026-11-21") == {"key:a": 2**40 + 3, "key:b": 5}
    assert await other.tokens_of_day("2026-11-23") == {}


@only_databases
@pytest.mark.parametrize("damage", ["salt = hash", "hash = salt", "role = 9", "bounds = '[1]'", "bounds = '{'"])
async def test_a_damaged_key_lets_nobody_in_and_harms_no_other(
    medium: Medium, storage: AccessStorage, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    issued, whole = issue(NewKey("damaged", Role.ADMIN), NOW_MS), key_of("whole", NOW_MS + 1)
    await storage.add_key(issued.key)
    await storage.add_key(whole)
    medium.change(f"UPDATE {medium.keys} SET {damage} WHERE name = 'damaged'")
    damaged, other = await storage.keys()
    assert other == whole
    assert not damaged.fits(issued.text.rpartition("_")[2])
    assert (damaged.role, damaged.bounds) == (Role.VIEWER, Bounds())
    assert f"key {issued.key.id} is damaged" in caplog.text
    await storage.revoke_key(damaged.id, NOW_MS + 2)
    assert [key.revoked_at for key in await storage.keys()] == [NOW_MS + 2, None]


@only_databases
async def test_nobody_changes_or_removes_an_audit_record(medium: Medium, storage: AccessStorage) -> None:
    await storage.append_audit([record_of()])
    for change in (f"UPDATE {medium.audit} SET who = 'x'", f"DELETE FROM {medium.audit}"):
        with pytest.raises(Exception, match="append-only"):
            medium.change(change)
    assert [each.who for each in await storage.audit(ALL, 10)] == ["key:ci"]


@only_databases
async def test_a_storage_that_is_not_open_says_so_and_closes_twice(medium: Medium) -> None:
    storage = medium.storage()
    await storage.close()
    await storage.open()
    await storage.close()
    await storage.close()
    with pytest.raises(StorageError, match="is not open"):
        await storage.keys()
