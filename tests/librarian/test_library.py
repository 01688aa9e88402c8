"""Damage, faults of the disk, leftovers of killed processes, and remote filesystems."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.fs as fs
import pytest

from librarian.errors import LibraryDamaged, LibraryStorageError
from librarian.folder.local import LocalFolder
from librarian.folder.remote import RemoteFolder
from librarian.values import Filters
from tests.librarian.libraries import everything, librarian_at, names_found
from tests.librarian.small_repository import SOURCES, commit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    commit(tmp_path / "shop", SOURCES)
    return tmp_path / "shop"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    commit(tmp_path / "other", {"a.py": "def other_function():\n    pass\n"})
    return tmp_path / "other"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def no_json(path: Path) -> None:
    path.write_text("{")


def newer(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


DAMAGES = [
    ("manifest.json", no_json),
    ("manifest.json", flip),
    ("manifest.json", newer),
    ("*/chunks.parquet", truncate),
    ("*/chunks.parquet", flip),
    ("*/files.parquet", Path.unlink),
    ("*/vectors*", truncate),
    ("*/vectors*", flip),
]


@pytest.mark.parametrize(("pattern", "harm"), DAMAGES, ids=lambda each: getattr(each, "__name__", str(each)))
async def test_a_damaged_library_is_reported_harms_no_other_and_is_mended_by_an_ingest(
    tmp_path: Path, repository: Path, other: Path, pattern: str, harm: Callable[[Path], None]
) -> None:
    root = tmp_path / "root"
    async with librarian_at(root) as librarian:
        made = await librarian.ingest(str(repository), None, None)
        await librarian.ingest(str(other), None, None)
    harm(next((root / made.library_id).glob(pattern)))
    async with librarian_at(root) as librarian:
        with pytest.raises(LibraryDamaged):
            await librarian.search((made.library_id,), "cart", 1, Filters(), False)
        listed = {each.library_id: each.damage for each in await librarian.libraries()}
        assert listed[made.library_id]
        assert sum(damage is not None for damage in listed.values()) == 1
        assert "other_function" in await names_found(librarian, (), "other_function")

        again = await librarian.ingest(str(repository), None, None)
        assert (again.library_id, again.updated) == (made.library_id, True)
        assert "Cart" in await names_found(librarian, (made.library_id,), "Cart")
        assert [each.damage for each in await librarian.libraries()] == [None, None]


async def test_a_damaged_library_can_be_deleted(tmp_path: Path, repository: Path) -> None:
    root = tmp_path / "root"
    async with librarian_at(root) as librarian:
        made = await librarian.ingest(str(repository), None, None)
        no_json(root / made.library_id / "manifest.json")
        await librarian.delete(made.library_id)
        assert await librarian.libraries() == []
        assert everything(root) == set()


async def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, repository: Path) -> None:
    root = tmp_path / "root"
    async with librarian_at(root) as librarian:
        made = await librarian.ingest(str(repository), None, None)
        whole = everything(root)
    version = next(each for each in (root / made.library_id).iterdir() if each.is_dir())
    shutil.copytree(version, root / made.library_id / "0123456789abcdef")  # written, not yet published
    shutil.copytree(version, root / "half-00000000" / "0123456789abcdef")  # of a first ingest
    (root / "tmp" / "clone-x").mkdir(parents=True)
    (root / "tmp" / "clone-x" / "pack").write_bytes(b"x")
    async with librarian_at(root) as librarian:
        assert everything(root) == whole
        assert [each.library_id for each in await librarian.libraries()] == [made.library_id]


async def test_a_reader_that_has_a_version_open_survives_the_next(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        old = librarian._reader._shelf.get(made.library_id)
        commit(repository, {"shop/new.py": "def brand_new():\n    pass\n"})
        await librarian.ingest(str(repository), None, None)
        assert old.search("Cart", 3, Filters(), False)[0]
        assert "brand_new" in await names_found(librarian, (made.library_id,), "brand_new")


@pytest.mark.parametrize("moment", ["add", "replace"])
async def test_a_full_disk_changes_nothing(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    root = tmp_path / "root"
    async with librarian_at(root) as librarian:
        made = await librarian.ingest(str(repository), None, None)
        before = everything(root)
        commit(repository, {"shop/new.py": "def brand_new():\n    pass\n"})
        works = getattr(LocalFolder, moment)

        def full(self: LocalFolder, *arguments: object) -> None:
            if str(arguments[-1 if moment == "add" else 0]).startswith(made.library_id):
                raise LibraryStorageError("disk", "No space left on device")
            works(self, *arguments)

        monkeypatch.setattr(LocalFolder, moment, full)
        with pytest.raises(LibraryStorageError, match="No space left"):
            await librarian.ingest(str(repository), None, None)
        assert "Cart" in await names_found(librarian, (made.library_id,), "Cart")
        monkeypatch.undo()
    async with librarian_at(root) as librarian:
        assert everything(root) == before
        assert (await librarian.ingest(str(repository), None, None)).updated


async def test_a_disk_that_fills_up_while_data_is_written_is_told_as_such(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("librarian.library.pq.write_table", full)
    async with librarian_at(tmp_path / "root") as librarian:
        with pytest.raises(LibraryStorageError, match="No space left"):
            await librarian.ingest(str(repository), None, None)
        assert everything(tmp_path / "root") == set()


async def test_libraries_on_a_remote_filesystem(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    remote = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    for side in ("ingester", "reader"):
        place = tmp_path / f"cache-{side}"
        monkeypatch.setattr(
            f"librarian.{side}.open_folder", lambda root, cache, place=place: RemoteFolder(remote, "libraries", place)
        )
    monkeypatch.setattr("librarian.shelf.REMOTE_LOOK_EVERY_S", 0.0)
    async with librarian_at("s3://bucket/libraries") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        assert "Cart" in await names_found(librarian, (made.library_id,), "Cart")
        commit(repository, {"shop/new.py": "def brand_new():\n    pass\n"})
        changed = await librarian.ingest(str(repository), None, None)
        assert changed.reused_files == 5
        assert "brand_new" in await names_found(librarian, (made.library_id,), "brand_new")
        assert len([each for each in (tmp_path / "bucket/libraries" / made.library_id).iterdir() if each.is_dir()]) == 1
        await librarian.delete(made.library_id)
        assert await librarian.libraries() == []
        assert everything(tmp_path / "bucket" / "libraries") == set()


async def test_searches_go_on_while_versions_change(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        ended = asyncio.Event()

        async def search() -> int:
            count = 0
            while not ended.is_set():
                assert "Cart" in await names_found(librarian, (made.library_id,), "Cart")
                count += 1
            return count

        async with asyncio.TaskGroup() as group:
            searching = group.create_task(search())
            for number in range(4):
                commit(repository, {"shop/new.py": f"def brand_new{number}():\n    pass\n"})
                await librarian.ingest(str(repository), None, None)
            ended.set()
        assert searching.result() > 4
