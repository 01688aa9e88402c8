"""One fixture per seam, a parameter per provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from organism.storage.base import Storage
from organism.storage.memory import MemoryStorage
from organism.storage.postgres import PostgresStorage
from organism.storage.sessions.base import SessionStorage
from organism.storage.sqlite import SqliteStorage
from tests.contracts.session_media import FileMedium, MemoryMedium, PostgresMedium, SessionMedium, SqliteMedium
from tests.postgres_server import PostgresServer, postgres_server

__all__ = ["postgres_server"]

SESSION_MEDIA: dict[str, Callable[[Path], SessionMedium | MemoryMedium]] = {
    "memory": MemoryMedium,
    "file": FileMedium,
    "sqlite": SqliteMedium,
}
"""Makes an empty medium; `request.param` of `session_medium` is the name."""

DURABLE_SESSION_MEDIA = ["file", "sqlite", "postgres"]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def new_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    """Makes a provider over one and the same medium, which is empty at first."""
    match request.param:
        case "memory":
            memory = MemoryStorage()
            return lambda: memory
        case "sqlite":
            return lambda: SqliteStorage(tmp_path / "organism.db")
        case _:
            url = _server(request).new_database()
            return lambda: PostgresStorage(url)


@pytest.fixture
async def open_storage(
    new_storage: Callable[[], Storage],
) -> AsyncIterator[Callable[[], Awaitable[Storage]]]:
    """Closes what it opened before and opens the same medium again."""
    opened: list[Storage] = []

    async def close() -> None:
        for storage in opened:
            await storage.close()

    async def open_again() -> Storage:
        await close()
        storage = new_storage()
        opened.append(storage)
        await storage.open()
        return storage

    yield open_again
    await close()


@pytest.fixture
async def storage(open_storage: Callable[[], Awaitable[Storage]]) -> Storage:
    """An open, empty storage of each provider."""
    return await open_storage()


@pytest.fixture(params=[*SESSION_MEDIA, "postgres"])
def session_medium(request: pytest.FixtureRequest, tmp_path: Path) -> SessionMedium | MemoryMedium:
    """An empty medium of each provider."""
    if request.param == "postgres":
        return PostgresMedium(_server(request))
    return SESSION_MEDIA[request.param](tmp_path)


@pytest.fixture
async def open_session_storage(
    session_medium: SessionMedium,
) -> AsyncIterator[Callable[[], Awaitable[SessionStorage]]]:
    """Closes what it opened before and opens the same medium again."""
    opened: list[SessionStorage] = []

    async def close() -> None:
        for storage in opened:
            await storage.close()

    async def open_again() -> SessionStorage:
        await close()
        opened.append(session_medium.storage())
        await opened[-1].open()
        return opened[-1]

    yield open_again
    await close()


@pytest.fixture
async def session_storage(open_session_storage: Callable[[], Awaitable[SessionStorage]]) -> SessionStorage:
    """An open, empty storage of each provider."""
    return await open_session_storage()


def _server(request: pytest.FixtureRequest) -> PostgresServer:
    """Started by the first test that needs it."""
    return request.getfixturevalue("postgres_server")
