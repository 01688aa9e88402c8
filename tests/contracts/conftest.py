"""One fixture per seam, a parameter per provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from organism.storage.base import Storage
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.base import SessionStorage
from organism.storage.sqlite import SqliteStorage
from tests.contracts.session_media import FileMedium, MemoryMedium, SessionMedium, SqliteMedium

SESSION_MEDIA: dict[str, Callable[[Path], SessionMedium | MemoryMedium]] = {
    "memory": MemoryMedium,
    "file": FileMedium,
    "sqlite": SqliteMedium,
}
"""Makes an empty medium; `request.param` of `session_medium` is the name."""

DURABLE_SESSION_MEDIA = ["file", "sqlite"]


@pytest.fixture(params=["memory", "sqlite"])
async def open_storage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[Storage]]]:
    """Closes what it opened before and opens the same medium again."""
    medium = MemoryStorage()
    opened: list[Storage] = []

    async def close() -> None:
        for storage in opened:
            await storage.close()

    async def open_again() -> Storage:
        await close()
        storage = medium if request.param == "memory" else SqliteStorage(tmp_path / "organism.db")
        opened.append(storage)
        await storage.open()
        return storage

    yield open_again
    await close()


@pytest.fixture
async def storage(open_storage: Callable[[], Awaitable[Storage]]) -> Storage:
    """An open, empty storage of each provider."""
    return await open_storage()


@pytest.fixture(params=list(SESSION_MEDIA))
def session_medium(request: pytest.FixtureRequest, tmp_path: Path) -> SessionMedium | MemoryMedium:
    """An empty medium of each provider."""
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
