from __future__ import annotations

from pathlib import Path

import pytest

from librarian.embedder.hashing import HashingEmbedder
from librarian.errors import LibraryNotFound
from librarian.folder.local import LocalFolder
from librarian.index.faiss import FaissFile
from librarian.shelf import Shelf
from tests.librarian.libraries import librarian_at
from tests.librarian.small_repository import SOURCES, commit


async def ingested(tmp_path: Path, *names: str) -> list[str]:
    made: list[str] = []
    async with librarian_at(tmp_path / "root") as librarian:
        for name in names:
            commit(tmp_path / name, SOURCES)
            made.append((await librarian.ingest(str(tmp_path / name), None, None)).library_id)
    return made


def shelf_of(tmp_path: Path, max_memory_bytes: int) -> Shelf:
    shelf = Shelf(LocalFolder(str(tmp_path / "root")), FaissFile(), max_memory_bytes)
    shelf.embedder = HashingEmbedder(32)
    return shelf


async def test_a_library_is_opened_once_until_it_changes(tmp_path: Path) -> None:
    (one,) = await ingested(tmp_path, "one")
    shelf = shelf_of(tmp_path, 1 << 30)
    first = shelf.get(one)
    assert shelf.get(one) is first
    commit(tmp_path / "one", {"new.py": "x = 1\n"})
    await ingested(tmp_path, "one")
    assert shelf.get(one) is not first


async def test_the_one_that_was_not_asked_for_longest_is_closed_when_memory_is_short(tmp_path: Path) -> None:
    one, two, three = await ingested(tmp_path, "one", "two", "three")
    size = shelf_of(tmp_path, 1 << 30).get(one).memory_bytes
    shelf = shelf_of(tmp_path, int(2.5 * size))
    first, second = shelf.get(one), shelf.get(two)
    assert shelf.get(one) is first
    shelf.get(three)
    assert shelf.get(one) is first
    assert shelf.get(two) is not second


async def test_one_library_may_be_larger_than_the_bound(tmp_path: Path) -> None:
    (one,) = await ingested(tmp_path, "one")
    shelf = shelf_of(tmp_path, 1)
    assert shelf.get(one) is shelf.get(one)


async def test_ids_that_nobody_has_are_not_remembered(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path, 1 << 30)
    for number in range(20):
        with pytest.raises(LibraryNotFound):
            shelf.get(f"nothing-{number:08x}")
    assert not shelf._opening
    assert not shelf._stamps
    assert not shelf._open


async def test_a_deleted_library_is_closed(tmp_path: Path) -> None:
    (one,) = await ingested(tmp_path, "one")
    shelf = shelf_of(tmp_path, 1 << 30)
    shelf.get(one)
    async with librarian_at(tmp_path / "root") as librarian:
        await librarian.delete(one)
    assert shelf.summaries() == []
    assert not shelf._open
