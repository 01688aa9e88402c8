"""What only the PostgreSQL storage of access control has: a server, which may go away and come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from organism.access.audit import AuditRecord
from organism.access.keys import NewKey, issue
from organism.access.principal import Role
from organism.errors import StorageError, StorageUnavailable, StorageVersionError
from organism.storage.access.postgres import PostgresAccessStorage
from tests.postgres_server import PASSWORD, PostgresServer, started_server

RECORD = AuditRecord(1, "key:ci", "pause", "greeter", "::1", "ok")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Of this module alone, since it is stopped."""
    with started_server() as server:
        yield server


async def test_a_server_that_was_restarted_is_found_again_without_an_error(server: PostgresServer) -> None:
    storage = PostgresAccessStorage(server.new_database())
    await storage.open()
    key = issue(NewKey("ci", Role.OPERATOR), 1).key
    await storage.add_key(key)
    server.stop()
    with pytest.raises(StorageUnavailable):
        await storage.version()
    with pytest.raises(StorageUnavailable):
        await storage.append_audit([RECORD])
    server.start()
    await storage.append_audit([RECORD])
    server.stop()
    server.start()
    assert await storage.keys() == [key]
    await storage.close()


async def test_a_newer_version_is_refused(server: PostgresServer) -> None:
    url = server.new_database()
    storage = PostgresAccessStorage(url)
    await storage.open()
    with pytest.raises(StorageError, match="open already"):
        await storage.open()
    await storage.close()
    server.execute("UPDATE organism.stores SET version = 99 WHERE name = 'access'", url)
    with pytest.raises(StorageVersionError, match="99"):
        await storage.open()


@pytest.mark.parametrize("url", ["postgresql://me:{}@127.0.0.1:1/x", "postgresql://me:{}@[/x"])
async def test_no_error_shows_the_password(url: str) -> None:
    storage = PostgresAccessStorage(url.format(PASSWORD))
    with pytest.raises(StorageError) as failed:
        await storage.open()
    assert PASSWORD not in str(failed.value)
    assert failed.value.__cause__ is None
