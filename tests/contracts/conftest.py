"""One fixture per seam, a parameter per provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from organism.storage.base import Storage
from organism.storage.memory import MemoryStorage
from organism.storage.sqlite import SqliteStorage


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
