"""Access control as a part of an organism that runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from organism_folder import running, until, write_organism

from organism.access.keys import NewKey
from organism.access.principal import Role
from organism.access.ref import ReplicaReport
from organism.errors import StorageUnavailable, TokensSpent
from organism.runtime import start_runtime
from organism.storage.access.memory import MemoryAccessStorage
from organism.storage.access.sqlite import SqliteAccessStorage
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.memory import MemorySessionStorage


class LockedStorage(MemoryAccessStorage):
    async def open(self) -> None:
        raise StorageUnavailable("database is locked")


async def test_keys_are_there_after_a_restart(tmp_path: Path) -> None:
    path = write_organism(tmp_path / "organism", "")
    async with running(path, access_storage=SqliteAccessStorage(tmp_path / "access.db")) as it:
        _, key = await it.runtime.access.add_key(NewKey("ci", Role.OPERATOR))
        first = await it.runtime.access.sync(ReplicaReport("a", -1, {}, {}))
        assert first.keys == [key]
        await it.runtime.access.count_tokens("key:ci", 5)
    async with running(path, access_storage=SqliteAccessStorage(tmp_path / "access.db")) as it:
        second = await it.runtime.access.sync(ReplicaReport("a", first.version, {}, {}))
        assert second.keys == [key]
        assert await it.runtime.access.keys() == [key]


async def test_a_reload_changes_the_limits(tmp_path: Path) -> None:
    path = write_organism(tmp_path / "organism", "")
    async with running(path) as it:
        await it.runtime.access.count_tokens("key:ci", 5)
        await it.runtime.access.check_tokens("key:ci")
        write_organism(path.parent, "", auth={"limits": {"tokens_per_day": 5}})
        await it.runtime.reload()
        with pytest.raises(TokensSpent):
            await it.runtime.access.check_tokens("key:ci")


async def test_without_the_storage_of_keys_nothing_starts_and_nothing_is_left(tmp_path: Path) -> None:
    path = write_organism(tmp_path / "organism", "")
    before = asyncio.all_tasks()
    storages = {"storage": MemoryStorage(), "session_storage": MemorySessionStorage()}
    with pytest.raises(StorageUnavailable, match="locked"):
        await start_runtime(path, access_storage=LockedStorage(), **storages)
    await until(lambda: asyncio.all_tasks() <= before)
