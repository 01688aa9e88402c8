"""Both sides over real git, in one process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from librarian.config import EmbedderChoice
from librarian.errors import (
    ChunkNotFound,
    EmbedderMismatch,
    FileNotInLibrary,
    InvalidRequest,
    LibraryNotFound,
    SourceUnavailable,
    UnknownModel,
)
from librarian.values import Filters
from tests.librarian.libraries import data_files, everything, librarian_at, names_found
from tests.librarian.small_repository import SOURCES, branch, commit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    commit(tmp_path / "shop", SOURCES)
    return tmp_path / "shop"


async def test_a_repository_is_ingested_searched_and_shown(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        assert (made.library_name, made.branch, made.files_processed, made.updated) == ("shop", "main", 5, True)
        assert made.library_id.startswith("shop-")
        assert made.skipped_count == 1
        assert "total_price" in (await names_found(librarian, (made.library_id,), "total price with tax"))[:2]

        found = (await librarian.search((), "total_price", 1, Filters(), True)).sources[0]
        assert (found.file_path, found.start_line, found.commit) == ("shop/prices.py", 1, made.commit)
        assert found.explain is not None
        chunk = await librarian.chunk(made.library_id, found.chunk_id)
        assert chunk.content.strip() == str(SOURCES["shop/prices.py"]).strip()
        shown = await librarian.file(made.library_id, "shop/cart.py")
        assert shown.content == SOURCES["shop/cart.py"]
        assert (shown.lines, shown.language) == (8, "python")
        assert {"Cart", "add"} <= {each.name for each in shown.chunks}
        assert (await librarian.symbols(made.library_id, "total_price", 3))[0].file_path == "shop/prices.py"


async def test_the_view_of_a_library_decides_between_namesakes(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        view = await librarian.library(made.library_id)
    assert view.files == sorted(path for path in SOURCES if path != "logo.png")
    assert view.classes["Cart"] == "shop/cart.py"
    assert view.symbols["Cart"] == ["shop/cart.py", "tests/test_cart.py"]
    assert view.functions["total_price"] == "shop/prices.py"
    assert view.stats["chunks"] == made.chunks_created == sum(n for key, n in view.stats.items() if key[:5] == "lang_")
    assert view.report.skipped_by_reason == {"binary": 1}


async def test_nothing_new_is_answered_without_a_new_version(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        first = await librarian.ingest(str(repository), None, None)
        before = data_files(tmp_path / "root", first.library_id)
        again = await librarian.ingest(str(repository), "main", "other name")
        assert (again.updated, again.reused_files, again.library_id) == (False, 5, first.library_id)
        assert again.library_name == "other name"
        assert [each.name for each in await librarian.libraries()] == ["other name"]
        assert data_files(tmp_path / "root", first.library_id) == before
        assert (await librarian.ingest(str(repository), None, None)).library_name == "other name"


async def test_only_what_changed_is_analyzed_and_the_result_is_that_of_a_first_ingest(
    tmp_path: Path, repository: Path
) -> None:
    async with librarian_at(tmp_path / "one") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        commit(repository, {"shop/prices.py": "def net_price(items):\n    return 1\n", "web/view.js": None})
        changed = await librarian.ingest(str(repository), None, None)
        assert (changed.updated, changed.reused_files, changed.files_processed) == (True, 3, 4)
        assert "net_price" in await names_found(librarian, (made.library_id,), "net price")
        assert "total_price" not in await names_found(librarian, (made.library_id,), "total_price")
        created, updated = (await librarian.libraries())[0].created_at, (await librarian.libraries())[0].updated_at
        assert created < updated
    async with librarian_at(tmp_path / "two") as librarian:
        await librarian.ingest(str(repository), None, None)
    assert data_files(tmp_path / "one", made.library_id) == data_files(tmp_path / "two", made.library_id)


async def test_a_branch_takes_what_another_library_has(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        main = await librarian.ingest(str(repository), None, None)
        branch(repository, "next")
        commit(repository, {"new.py": "def fresh():\n    pass\n"})
        other = await librarian.ingest(str(repository), "next", None)
        assert other.library_id != main.library_id
        assert (other.reused_files, other.files_processed) == (5, 6)
        await librarian.delete(main.library_id)
        assert "fresh" in await names_found(librarian, (), "fresh")
        assert [each.library_id for each in await librarian.libraries()] == [other.library_id]


async def test_deleted_means_gone(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        await librarian.search((made.library_id,), "cart", 1, Filters(), False)
        await librarian.delete(made.library_id)
        assert everything(tmp_path / "root") == set()
        with pytest.raises(LibraryNotFound):
            await librarian.search((made.library_id,), "cart", 1, Filters(), False)
        with pytest.raises(LibraryNotFound):
            await librarian.delete(made.library_id)
        assert (await librarian.search((), "cart", 1, Filters(), False)).sources == []


async def test_what_is_not_there_is_told_by_its_kind(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        with pytest.raises(ChunkNotFound):
            await librarian.chunk(made.library_id, "../../etc/passwd")
        with pytest.raises(FileNotInLibrary):
            await librarian.file(made.library_id, "../manifest.json")
        with pytest.raises(UnknownModel):
            await librarian.query(made.library_id, "what is a cart?", 5, "gpt")
        for name in ("nothing-00000000", "..", "jobs", "tmp", ""):
            with pytest.raises(LibraryNotFound):
                await librarian.library(name)


async def test_a_source_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        with pytest.raises(SourceUnavailable):
            await librarian.ingest(str(tmp_path / "nowhere"), None, None)
        with pytest.raises(InvalidRequest):
            await librarian.start_ingest("", None, None)
        assert await librarian.libraries() == []
        assert everything(tmp_path / "root") == set()


async def test_another_embedder_is_an_error_until_it_is_ingested_again(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
    other = EmbedderChoice(provider="hashing", dim=64)
    async with librarian_at(tmp_path / "root", embedder=other) as librarian:
        with pytest.raises(EmbedderMismatch):
            await librarian.search((made.library_id,), "cart", 1, Filters(), False)
        with pytest.raises(EmbedderMismatch):
            await librarian.search((), "cart", 1, Filters(), False)
        second = shutil.copytree(repository, tmp_path / "second")
        await librarian.ingest(str(second), None, None)
        found = await librarian.search((), "cart", 1, Filters(), False)
        assert found.sources
        assert list(found.left_out) == [made.library_id]
        assert "ingest its repository again" in found.left_out[made.library_id]
        assert (await librarian.ingest(str(repository), None, None)).updated
        assert await names_found(librarian, (made.library_id,), "cart")


async def test_answers_and_their_events_cite_the_library(tmp_path: Path, repository: Path) -> None:
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(repository), None, None)
        answer = await librarian.query(made.library_id, "how is the total price computed with tax?", 5, None)
        assert answer.sources
        assert answer.chunks_examined > 0
        question = "how is the total price computed with tax?"
        events = [event async for event in librarian.stream_query(made.library_id, question, 5, None)]
    assert events[0][0] == "sources"
    assert events[-1][0] == "answer"
    assert "".join(body["text"] for name, body in events if name == "delta") == answer.answer == events[-1][1]["answer"]


async def test_one_process_at_a_time_changes_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("librarian.folder.local.LOCK_WAIT_S", 0.0)
    async with librarian_at(tmp_path / "root"):
        with pytest.raises(Exception, match="another process ingests into this folder"):
            async with librarian_at(tmp_path / "root"):
                pass
    assert everything(tmp_path / "root") == set()
