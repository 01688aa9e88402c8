"""What is special to sessions in PostgreSQL: faults. The rest is in tests/contracts."""

from __future__ import annotations

import asyncio

import pytest

from organism.errors import StorageUnavailable
from organism.sessions.records import SessionFilter
from organism.storage.sessions.postgres import PostgresSessionStorage
from tests.contracts.session_samples import session_of
from tests.postgres_server import PASSWORD, started_server


async def test_a_database_from_before_sessions_had_owners_is_brought_up_to_date() -> None:
    with started_server() as server:
        url = server.new_database()
        storage = PostgresSessionStorage(url)
        await storage.open()
        await storage.commit(session_of("a", 3))
        await storage.close()
        server.execute("ALTER TABLE organism.sessions DROP COLUMN owner", url)  # and its index with it
        server.execute("UPDATE organism.stores SET version = 1 WHERE name = 'sessions'", url)
        await storage.open()
        assert list(await storage.records(["a"])) == ["a"]
        assert await storage.sessions(SessionFilter(owner="key:ann"), 10, 0) == ([], 0)
        await storage.commit(session_of("b", 1, owner="key:ann"))
        found, _ = await storage.sessions(SessionFilter(owner="key:ann"), 10, 0)
        assert [record.id for record in found] == ["b"]
        await storage.close()


async def test_sessions_outlive_a_server_that_is_killed_and_started_again() -> None:
    with started_server() as server:
        storage = PostgresSessionStorage(server.new_database())
        await storage.open()
        await storage.commit(session_of("a", 3))
        await asyncio.to_thread(server.kill)
        for call in (
            storage.commit(session_of("b", 2)),
            storage.records(["a"]),
            storage.sessions(SessionFilter(), 10, 0),
            storage.events("a", 0, 10),
            storage.last_events("a", 10),
        ):
            with pytest.raises(StorageUnavailable) as raised:
                async with asyncio.timeout(5):
                    await call
            assert PASSWORD not in str(raised.value)
        await asyncio.to_thread(server.start)
        assert [frame.seq for frame in await storage.events("a", 0, 10)] == [1, 2, 3]
        await storage.commit(session_of("b", 2))
        assert set(await storage.records(["a", "b"])) == {"a", "b"}
        await storage.close()
