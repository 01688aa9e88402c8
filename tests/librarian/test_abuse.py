"""Repositories made to hurt: each is read within bounds of time and memory, and what is left out says why."""

import os
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librarian.chunker import chunk_file
from librarian.chunks import ChunkedFile, chunk_ids
from librarian.config import IngestLimits, SourceRules
from librarian.git_source import Repository, fetch, read_blobs
from librarian.screening import skip_by_content, skip_by_path
from librarian.secrets import mask_secrets
from librarian.values import Filters, Skipped
from tests.librarian.git_repositories import (
    REGULAR,
    SYMLINK,
    blob,
    commit_entries,
    commit_files,
    commit_tree,
    empty_repository,
    git,
    tree_entry,
)
from tests.librarian.libraries import librarian_at

LIMITS = IngestLimits()
RULES = SourceRules(local=True)
ENVIRON: Mapping[str, str] = {"PATH": os.environ["PATH"]}
PARSE_TIMEOUT_S = 3.0
SUFFIXES = ("py", "js", "ts", "c", "cpp", "rs", "go", "java", "md", "txt")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return empty_repository(tmp_path / "origin")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Processor time of this process: other work on the machine does not count. Generous, for slow machines."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


@contextmanager
def at_most_bytes(peak: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()


def covers(chunked: ChunkedFile, data: bytes) -> bool:
    """All that the chunks own is the file, each byte once."""
    owned = sorted(span for chunk in chunked.chunks for span in chunk.owned if span[0] < span[1])
    return b"".join(data[start:end] for start, end in owned) == data


async def test_a_hundred_thousand_empty_files_are_listed_and_left_out_in_seconds(origin: Path, tmp_path: Path):
    _commit_many_empty_files(origin)
    with at_most(5.0):
        async with fetch(str(origin), None, RULES, ENVIRON, tmp_path / "clones") as repository:
            assert len(repository.entries) == 100_000
            assert {entry.size for entry in repository.entries} == {0}
            reasons = {skip_by_path(entry.path, entry.size, LIMITS) for entry in repository.entries}
            read = read_blobs(repository.folder, [entry.blob_id for entry in repository.entries])
            reasons |= {skip_by_content("a.py", data, LIMITS) for _, data in read}
    assert reasons - {None} == {"empty"}


async def test_a_file_of_two_hundred_megabytes_is_neither_copied_nor_held_in_memory(origin: Path, tmp_path: Path):
    _commit_huge_file(origin, "huge.py", 200_000_000)
    with at_most(5.0), at_most_bytes(20_000_000):
        async with fetch(str(origin), None, RULES, ENVIRON, tmp_path / "clones") as repository:
            assert (repository.entries, repository.skipped) == ([], [Skipped("huge.py", "too_large")])
            assert _bytes_below(repository.folder) < 1_000_000


async def test_a_line_of_ten_megabytes_is_left_out(origin: Path, tmp_path: Path):
    commit_files(origin, {"long.js": b"var a = 1;" * 1_000_000})
    async with fetch(str(origin), None, RULES, ENVIRON, tmp_path / "clones") as repository:
        assert repository.skipped == [Skipped("long.js", "too_large")]


@pytest.mark.parametrize("suffix", ["py", "go", "md"])
def test_a_line_of_ten_megabytes_is_left_out_by_its_content_too_and_harms_nobody_who_reads_it(suffix: str):
    data = b"var a = 1;" * 1_000_000
    with at_most(10.0):
        reason = skip_by_content(f"long.{suffix}", data, IngestLimits(max_file_bytes=20_000_000))
        assert reason in ("long_lines", "minified")
        mask_secrets(f"long.{suffix}", data)
        assert covers(chunk_file(f"long.{suffix}", data, PARSE_TIMEOUT_S), data)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "data",
    [
        b"(" * 5_000 + b")" * 5_000,
        b"\n".join([b"x = ", *[b"("] * 5_000, *[b")"] * 5_000]),
        b"{\n" * 5_000 + b"}\n" * 5_000,
        b"[" * 100_000,
        b"a(" * 20_000,
        b"if x {\n" * 5_000,
        b"def f():\n" + b"".join(b" " * depth + b"if x:\n" for depth in range(1, 1_000)),
        b"class A { " * 3_000,
        b"namespace a {\n" * 5_000 + b"}\n" * 5_000,
        b"-" * 50_000 + b"1",
        b"> " * 5_000 + b"quoted",
        b"/*" * 50_000,
        b'"""' * 20_001,
        b"`${" * 10_000,
        b"# a\n" * 50_000,
        b"#if A\n" * 5_000,
    ],
    ids=[
        "parentheses", "parentheses_in_lines", "braces", "open_brackets", "calls", "ifs", "indents", "classes",
        "namespaces", "signs", "quotes", "comments", "strings", "templates", "headings", "conditionals",
    ],
)  # fmt: skip
def test_deep_nesting_is_cut_in_time_without_a_gap(suffix: str, data: bytes):
    with at_most(6.0):
        mask_secrets(f"deep.{suffix}", data)
        chunked = chunk_file(f"deep.{suffix}", data, PARSE_TIMEOUT_S)
    assert covers(chunked, data)
    assert len(set(chunk_ids(f"deep.{suffix}", chunked.chunks, data))) == len(chunked.chunks)


BROKEN = {
    "latin1": "größe = 'é'\n".encode("latin-1"),
    "utf16": "print('x')\n".encode("utf-16"),
    "bom": b"\xef\xbb\xbfdef f(): pass\n",
    "truncated": "def größe(): pass\n".encode()[:6],
    "overlong": b"a = '\xc0\xaf\xed\xa0\x80\xf8\x88'\n",
    "nul": b"def f():\n    return '\x00'\n",
    "carriage_returns": b"def f():\r    pass\rdef g():\r    pass\r",
    "mixed_ends": b"def f():\r\n    pass\n\rdef g():\n\r    pass\x0c\x0b\x85\xe2\x80\xa8",
    "bidi": "def f(): # \u202e } \u2066 if x\u2069\n".encode(),
    "only_ff": b"\xff" * 10_000,
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_encodings_are_cut_without_a_gap_and_keep_their_lines(suffix: str, data: bytes):
    masked, _ = mask_secrets(f"broken.{suffix}", data)
    assert masked.count(b"\n") == data.count(b"\n")
    chunked = chunk_file(f"broken.{suffix}", masked, PARSE_TIMEOUT_S)
    assert covers(chunked, masked)
    for chunk in chunked.chunks:
        chunk.content(masked).encode("utf-8")
        (chunk.name + chunk.qualified_name + chunk.signature + chunk.docstring).encode("utf-8")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SUFFIXES), st.binary(max_size=400))
def test_any_bytes_are_cut_without_a_gap(suffix: str, data: bytes):
    masked, _ = mask_secrets(f"any.{suffix}", data)
    assert masked.count(b"\n") == data.count(b"\n")
    assert covers(chunk_file(f"any.{suffix}", masked, PARSE_TIMEOUT_S), masked)
    skip_by_content(f"any.{suffix}", data, LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        b"a" * 1_000_000, b"=" * 1_000_000, b"password=" * 100_000, b"A1b2" * 250_000, b"-----BEGIN " * 90_000,
        b"https://a:" * 100_000, b"x = '" * 200_000, b"eyJ" * 300_000 + b".", b"ghp_" * 250_000, b"\n" * 1_000_000,
        b" " * 1_000_000, b"token: " * 140_000, b"://" * 300_000 + b"@", b'"' * 1_000_000,
    ],
    ids=[
        "letters", "equals", "passwords", "mixed", "keys", "urls", "assignments", "jwt", "github", "newlines", "blanks",
        "tokens", "schemes", "quotes",
    ],
)  # fmt: skip
def test_masking_takes_time_in_proportion_to_the_file(data: bytes):
    with at_most(8.0):
        mask_secrets("config.yaml", data)
        skip_by_content("config.yaml", data, LIMITS)


async def test_names_made_to_break_out_or_to_break_lines_never_become_files(origin: Path, tmp_path: Path):
    content = blob(origin, b"x = 1\n")
    inner = git(origin, "mktree", stdin=f"{REGULAR} blob {content}\tpasswd\n".encode())
    files = (b"a\nb.py", b"a\r.py", b"\x7f.py", b"\xff.py", b"/etc/passwd", b"../up.py", "\u202egnp.py".encode())
    entries = [(name, REGULAR, content) for name in (*files, b"good.py")]
    entries += [(name, "40000", inner) for name in (b"..", b".", b".git", b".GIT")]
    commit_tree(origin, b"".join(tree_entry(mode, name, object_id) for name, mode, object_id in sorted(entries)))
    async with fetch(str(origin), None, RULES, ENVIRON, tmp_path / "clones") as repository:
        assert [entry.path for entry in repository.entries] == ["good.py"]
        assert [each.reason for each in repository.skipped] == ["bad_path"] * (len(entries) - 1)
        assert "\n" not in "".join(each.path for each in repository.skipped)


async def test_links_to_files_of_this_machine_are_not_read(origin: Path, tmp_path: Path):
    (tmp_path / "secret.py").write_text("SECRET = 1\n")
    links = [f"{tmp_path}/secret.py", "/etc/passwd", "../../secret.py", "."]
    commit_entries(origin, [(SYMLINK, f"link{number}.py", to.encode()) for number, to in enumerate(links)])
    async with fetch(str(origin), None, RULES, ENVIRON, tmp_path / "clones") as repository:
        assert repository.entries == []
        assert {each.reason for each in repository.skipped} == {"symlink"}


async def test_long_and_deep_paths_are_left_out(origin: Path, tmp_path: Path):
    paths = {"d/" * 1_000 + "deep.py": b"1", "x" * 3_000 + ".py": b"2", "good.py": b"3"}
    commit_files(origin, paths)
    async with fetch(str(origin), None, RULES, ENVIRON, tmp_path / "clones") as repository:
        assert _kept(repository) == ["good.py"]


async def test_one_repository_of_it_all_becomes_a_library_that_finds_its_one_good_file(origin: Path, tmp_path: Path):
    good = b'def reconcile_ledger(entries):\n    """Balances the books."""\n    return sum(entries)\n'
    inner = commit_files(origin, {"empty.py": b"", **{f"broken_{name}.py": data for name, data in BROKEN.items()}})
    nested = b"x = " + b"(" * 5_000 + b"1" + b")" * 5_000
    files = {
        b"good.py": good,
        b"deep.py": nested,
        b"deep.js": b"\n".join([nested[i : i + 1_000] for i in range(0, len(nested), 1_000)]),
        b"long.js": b"var a = 1;" * 1_000_000,
        b"one_line.py": b"a = 1;" * 100_000,
        b"a\nb.py": b"newline = 1\n",
        b"../up.py": b"up = 1\n",
    }
    entries = [(name, REGULAR, blob(origin, data)) for name, data in files.items()]
    entries.append((b"inner", "40000", git(origin, "rev-parse", f"{inner}^{{tree}}")))
    commit_tree(origin, b"".join(tree_entry(mode, name, object_id) for name, mode, object_id in sorted(entries)))
    async with librarian_at(tmp_path / "root") as librarian:
        made = await librarian.ingest(str(origin), None, None)
        found = await librarian.search((made.library_id,), "balance the ledger", 3, Filters(), False)
        report = (await librarian.library(made.library_id)).report
    assert found.sources[0].file_path == "good.py"
    assert {each.path: each.reason for each in report.skipped}.items() >= {
        "long.js": "too_large", "one_line.py": "minified", "a\\nb.py": "bad_path", "../up.py": "bad_path",
        "inner/empty.py": "empty",
    }.items()  # fmt: skip


async def test_a_hundred_thousand_empty_files_are_ingested_in_seconds(origin: Path, tmp_path: Path):
    _commit_many_empty_files(origin)
    with at_most(20.0):
        async with librarian_at(tmp_path / "root") as librarian:
            made = await librarian.ingest(str(origin), None, None)
            report = (await librarian.library(made.library_id)).report
    assert (made.files_processed, made.skipped_count) == (0, 100_000)
    assert report.skipped_by_reason == {"empty": 100_000}
    assert len(report.skipped) == 1_000


def _kept(repository: Repository) -> list[str]:
    return [entry.path for entry in repository.entries if skip_by_path(entry.path, entry.size, LIMITS) is None]


def _commit(folder: Path, tree_id: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    git(folder, "update-ref", "refs/heads/main", git(folder, *author, "commit-tree", "-m", "made", tree_id))


def _commit_many_empty_files(folder: Path) -> None:
    empty = blob(folder, b"")
    files = "".join(f"{REGULAR} blob {empty}\t{number:03}.py\n" for number in range(1_000))
    files_id = git(folder, "mktree", stdin=files.encode())
    folders = "".join(f"040000 tree {files_id}\t{number:03}\n" for number in range(100))
    _commit(folder, git(folder, "mktree", stdin=folders.encode()))


def _commit_huge_file(folder: Path, path: str, size: int) -> None:
    """A sparse file, so that making it costs little."""
    huge = folder / "huge"
    with huge.open("wb") as stream:
        stream.truncate(size)
    blob_id = git(folder, "-c", "core.compression=1", "hash-object", "-w", str(huge))
    huge.unlink()
    _commit(folder, git(folder, "mktree", stdin=f"{REGULAR} blob {blob_id}\t{path}\n".encode()))


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
