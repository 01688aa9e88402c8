from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian import analysis
from librarian.config import EmbedderChoice, IngestLimits
from librarian.embedder.hashing import HashingEmbedder
from librarian.errors import EmbedderUnavailable
from librarian.git_source import BlobEntry
from librarian.packs import Pack, Work, analyze_pack, plan_packs
from tests.librarian.libraries import librarian_at
from tests.librarian.small_repository import SOURCES, commit

EMBEDDER = HashingEmbedder(16)
sizes = st.lists(st.integers(0, 100_000), max_size=60)


@given(sizes=sizes, count=st.integers(1, 9))
def test_every_file_is_in_one_pack_and_packs_are_about_equal(sizes: list[int], count: int) -> None:
    entries = [BlobEntry(f"f{number}", f"{number:040x}", size) for number, size in enumerate(sizes)]
    packs = plan_packs(entries, count)
    assert sorted(path for pack in packs for path, _ in pack.files) == sorted(entry.path for entry in entries)
    size_of = {entry.path: entry.size + 200 for entry in entries}
    weights = [sum(size_of[path] for path, _ in pack.files) for pack in packs]
    if weights:
        assert max(weights) - min(weights) <= max(size_of.values())
        assert len(packs) == min(count, len(entries))


def test_plans_are_the_same_for_any_order_of_the_files() -> None:
    entries = [BlobEntry(f"f{number}", f"{number:040x}", number % 5) for number in range(20)]
    assert plan_packs(entries, 4) == plan_packs(entries[::-1], 4)


async def test_a_broken_file_is_an_error_and_harms_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path / "shop", SOURCES)
    works = analysis.chunk_terms

    def breaks(path: str, *arguments: object) -> dict[str, int]:
        if path == "shop/cart.py":
            raise RuntimeError("no terms today")
        return works(path, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(analysis, "chunk_terms", breaks)
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(tmp_path / "shop"), None, None)
        assert [(each.path, each.message) for each in made.errors] == [("shop/cart.py", "RuntimeError: no terms today")]
        assert made.files_processed == 4
        assert (await librarian.library(made.library_id)).report.error_count == 1


def test_an_embedder_that_fails_is_no_broken_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*arguments: object) -> None:
        raise EmbedderUnavailable("e", "down")

    monkeypatch.setattr(
        "librarian.packs.read_blobs", lambda folder, blob_ids: [(each, b"x = 1\n") for each in blob_ids]
    )
    monkeypatch.setattr(HashingEmbedder, "embed", fails)
    with pytest.raises(EmbedderUnavailable):
        analyze_pack(Pack((("a.py", "0" * 40),)), Work(tmp_path, EmbedderChoice(), IngestLimits()), EMBEDDER)


def test_the_same_blob_at_two_paths_is_two_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "librarian.packs.read_blobs", lambda folder, blob_ids: [(each, b"x = 1\n") for each in blob_ids]
    )
    pack = Pack((("a.py", "0" * 40), ("b.py", "0" * 40)))
    made = analyze_pack(pack, Work(tmp_path, EmbedderChoice(), IngestLimits()), EMBEDDER)
    assert made.part.tables.files["path"].to_pylist() == ["a.py", "b.py"]
