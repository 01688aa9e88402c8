from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librarian.analysis import AnalyzedFile, SourceFile, analyze
from librarian.embedder.hashing import HashingEmbedder
from librarian.parts import Part, empty_part, merge_parts, part_from_bytes, part_to_bytes, select_files
from librarian.tables import build_tables
from tests.librarian.small_repository import SOURCES

EMBEDDER = HashingEmbedder(32)
EXTRA = {
    "empty_like.py": "x = 1\n",
    "größe.py": "def größe():\n    return 1\n",
    "a.txt": "plain words\n",
    "Z.go": "package z\n",
}


@pytest.fixture(scope="module")
def files() -> list[AnalyzedFile]:
    texts = {path: text for path, text in {**SOURCES, **EXTRA}.items() if isinstance(text, str)}
    sources = [SourceFile(path, f"{number:040x}", text.encode()) for number, (path, text) in enumerate(texts.items())]
    return analyze(sources, EMBEDDER, 3.0)


def same(one: Part, other: Part) -> bool:
    return part_to_bytes(one) == part_to_bytes(other)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_tables_are_the_same_for_any_order_of_the_files(files: list[AnalyzedFile], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(files))
    assert same(Part(*build_tables(shuffled)), Part(*build_tables(files)))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_merged_parts_are_the_tables_of_all_files_however_they_were_distributed(
    files: list[AnalyzedFile], data: st.DataObject
) -> None:
    homes = data.draw(st.lists(st.integers(0, 3), min_size=len(files), max_size=len(files)))
    packs = [[file for file, home in zip(files, homes, strict=True) if home == number] for number in range(4)]
    parts = [Part(*build_tables(pack)) if pack else empty_part(EMBEDDER.dim) for pack in packs]
    assert same(merge_parts(parts), Part(*build_tables(files)))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_selected_files_are_the_tables_of_these_files_alone(files: list[AnalyzedFile], data: st.DataObject) -> None:
    ordered = sorted(files, key=lambda each: each.source.path)
    rows = data.draw(st.lists(st.sampled_from(range(len(ordered))), unique=True, min_size=1).map(sorted))
    selected = select_files(Part(*build_tables(files)), np.array(rows, np.int64))
    assert same(selected, Part(*build_tables([ordered[row] for row in rows])))


def test_a_part_survives_the_way_to_another_process(files: list[AnalyzedFile]) -> None:
    part = Part(*build_tables(files))
    copy = part_from_bytes(part_to_bytes(part))
    assert copy.tables == part.tables
    assert copy.vectors.dtype == np.float16
    assert np.array_equal(copy.vectors, part.vectors)


def test_nothing_merged_is_a_library_without_files() -> None:
    assert same(merge_parts([empty_part(8), empty_part(8)]), empty_part(8))
    assert same(part_from_bytes(part_to_bytes(empty_part(8))), empty_part(8))
