import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from librarian.config import IngestLimits, SourceRules
from librarian.errors import InvalidRequest, LimitExceeded, SourceRefused, SourceUnavailable
from librarian.git_source import BlobEntry, Repository, fetch, read_blobs, remove_leftovers, resolve
from librarian.values import Skipped
from tests.librarian.git_repositories import (
    EXECUTABLE,
    REGULAR,
    SUBMODULE,
    SYMLINK,
    blob,
    commit_entries,
    commit_files,
    commit_tree,
    empty_repository,
    git,
    tree_entry,
)

RULES = SourceRules(local=True)
ENVIRON: Mapping[str, str] = {"PATH": os.environ["PATH"]}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return empty_repository(tmp_path / "origin")


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    return tmp_path / "clones"


def limited(**limits: float) -> SourceRules:
    return replace(RULES, limits=replace(IngestLimits(), **limits))


def entries_of(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def contents(repository: Repository) -> dict[str, bytes]:
    data = dict(read_blobs(repository.folder, [entry.blob_id for entry in repository.entries]))
    return {entry.path: data[entry.blob_id] for entry in repository.entries}


async def test_the_files_of_the_head_branch_are_listed_and_read(origin: Path, clones: Path):
    files = {"a.py": b"print(1)\n", "b/größe.txt": b"\x00\xff\n\n", "empty": b"", "same": b"print(1)\n"}
    commit = commit_files(origin, files)
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert contents(repository) == files
        assert repository.url == f"file://{origin}"
        assert (repository.branch, repository.commit) == ("main", commit)
        assert {entry.path: entry.size for entry in repository.entries} == {p: len(d) for p, d in files.items()}
        assert repository.skipped == []
    assert entries_of(clones) == []


async def test_a_branch_is_fetched_alone_at_its_last_commit(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    commit_files(origin, {"a": b"2"}, "feature/x")
    last = commit_files(origin, {"a": b"3"}, "feature/x")
    async with fetch(str(origin), "feature/x", RULES, ENVIRON, clones) as repository:
        assert contents(repository) == {"a": b"3"}
        assert (repository.branch, repository.commit) == ("feature/x", last)
        assert git(repository.folder, "rev-list", "--all", "--count") == "1"


async def test_resolve_says_what_fetch_will_find(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    commit_files(origin, {"a": b"2"}, "other")
    for branch in (None, "main", "other"):
        resolved = await resolve(f"file://{origin}", branch, RULES, ENVIRON)
        async with fetch(str(origin), branch, RULES, ENVIRON, clones) as repository:
            assert (resolved.url, resolved.branch, resolved.commit) == (
                repository.url, repository.branch, repository.commit,
            )  # fmt: skip


async def _fetched(origin: Path, branch: str | None, clones: Path) -> None:
    async with fetch(str(origin), branch, RULES, ENVIRON, clones):
        pass


async def test_a_branch_that_is_not_there_is_answered_with_those_that_are(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"}, "main")
    commit_files(origin, {"a": b"1"}, "other")
    git(origin, "tag", "v1", "main")
    for branch in ("nope", "v1"):
        with pytest.raises(SourceUnavailable, match=f"no branch '{branch}'; there are main, other"):
            await resolve(str(origin), branch, RULES, ENVIRON)
        with pytest.raises(SourceUnavailable, match=f"no branch '{branch}'; there are main, other"):
            await _fetched(origin, branch, clones)


async def test_a_head_that_names_no_branch_asks_for_one(origin: Path, clones: Path):
    git(origin, "update-ref", "--no-deref", "HEAD", commit_files(origin, {"a": b"1"}, "other"))
    for attempt in (resolve(str(origin), None, RULES, ENVIRON), _fetched(origin, None, clones)):
        with pytest.raises(SourceUnavailable, match="give one of other"):
            await attempt


async def test_a_head_whose_branch_does_not_exist_asks_for_one(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"}, "other")
    for attempt in (resolve(str(origin), None, RULES, ENVIRON), _fetched(origin, None, clones)):
        with pytest.raises(SourceUnavailable, match="give one of other"):
            await attempt


async def test_an_empty_repository_is_unavailable(origin: Path, clones: Path):
    for attempt in (resolve(str(origin), None, RULES, ENVIRON), _fetched(origin, None, clones)):
        with pytest.raises(SourceUnavailable, match="is empty"):
            await attempt


async def test_a_folder_that_is_no_repository_is_unavailable(tmp_path: Path, clones: Path):
    (tmp_path / "plain").mkdir()
    for attempt in (resolve(str(tmp_path / "plain"), None, RULES, ENVIRON), _fetched(tmp_path / "plain", None, clones)):
        with pytest.raises(SourceUnavailable, match="no git repository in that place"):
            await attempt
    assert entries_of(clones) == []


async def test_local_repositories_need_permission(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    for git_url in (str(origin), f"file://{origin}"):
        with pytest.raises(SourceRefused, match="not allowed here"):
            await resolve(git_url, None, SourceRules(local=False), ENVIRON)


async def test_options_in_place_of_urls_and_branches_run_nothing(origin: Path, clones: Path, tmp_path: Path):
    commit_files(origin, {"a": b"1"})
    evil = f"--upload-pack=touch {tmp_path}/ran"
    for attempt in (resolve(evil, None, RULES, ENVIRON), resolve(str(origin), evil, RULES, ENVIRON)):
        with pytest.raises(InvalidRequest):
            await attempt
    with pytest.raises(InvalidRequest):
        await _fetched(origin, evil, clones)
    assert not (tmp_path / "ran").exists()


async def test_links_and_submodules_are_skipped_and_never_followed(origin: Path, clones: Path):
    entries = [
        (REGULAR, "plain.py", b"1"),
        (EXECUTABLE, "run.sh", b"2"),
        (SYMLINK, "evil.py", b"/etc/passwd"),
        (SUBMODULE, "vendored", b"1" * 40),
        (REGULAR, ".gitmodules", b'[submodule "vendored"]\n\tpath = vendored\n\turl = --upload-pack=whoami\n'),
    ]
    commit_entries(origin, entries)
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert {entry.path for entry in repository.entries} == {"plain.py", "run.sh", ".gitmodules"}
        assert repository.skipped == [Skipped("evil.py", "symlink"), Skipped("vendored", "submodule")]


async def test_names_that_could_lead_elsewhere_or_break_lines_are_skipped(origin: Path, clones: Path):
    data = blob(origin, b"1")
    names = [b"a\nb", b"a\tb", b"a\x1b[31mb", b"caf\xe9", "a\u202eb".encode(), b".git", b"..", b"good.py"]
    inner = commit_tree(origin, tree_entry(REGULAR, b"passwd", data), "inner")
    inner_tree = git(origin, "rev-parse", f"{inner}^{{tree}}")
    tree = b"".join(
        tree_entry("40000", name, inner_tree) if name in (b"..", b".git") else tree_entry(REGULAR, name, data)
        for name in sorted(names)
    )
    commit_tree(origin, tree)
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert [entry.path for entry in repository.entries] == ["good.py"]
        assert {skipped.reason for skipped in repository.skipped} == {"bad_path"}
        assert len(repository.skipped) == len(names) - 1
        assert all(skipped.path.isascii() and skipped.path.isprintable() for skipped in repository.skipped)


async def test_a_tree_that_git_would_not_write_is_refused_or_skipped_but_never_followed(origin: Path, clones: Path):
    data = blob(origin, b"1")
    commit_tree(origin, tree_entry(REGULAR, b"../../evil", data) + tree_entry(REGULAR, b"/etc/evil", data))
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert repository.entries == []
        assert len(repository.skipped) == 2


async def test_files_above_the_limit_are_skipped_without_being_copied(origin: Path, clones: Path):
    exact, above = os.urandom(50_000), os.urandom(50_001)
    commit_files(origin, {"exact": exact, "above": above, "small": b"1"})
    async with fetch(str(origin), None, limited(max_file_bytes=50_000), ENVIRON, clones) as repository:
        assert contents(repository) == {"exact": exact, "small": b"1"}
        assert repository.skipped == [Skipped("above", "too_large")]
        packed = sum(path.stat().st_size for path in repository.folder.rglob("*.pack"))
        assert packed < 60_000


async def test_what_was_left_out_is_not_fetched_behind_our_back(origin: Path, clones: Path):
    commit_files(origin, {"above": os.urandom(5_000)})
    large = git(origin, "rev-parse", "main:above")
    async with fetch(str(origin), None, limited(max_file_bytes=1_000), ENVIRON, clones) as repository:
        with pytest.raises(SourceUnavailable, match="gone or damaged"):
            list(read_blobs(repository.folder, [large]))


@pytest.mark.parametrize(
    ("limits", "limit"),
    [({"max_files": 2}, "max_files"), ({"max_total_bytes": 100}, "max_total_bytes")],
)
async def test_too_many_files_or_bytes_are_refused(origin: Path, clones: Path, limits: dict[str, int], limit: str):
    commit_files(origin, {f"{number}.txt": b"x" * 50 for number in range(3)})
    with pytest.raises(LimitExceeded) as caught:
        async with fetch(str(origin), None, limited(**limits), ENVIRON, clones):
            pass
    assert caught.value.limit == limit
    assert entries_of(clones) == []


async def test_a_copy_that_grows_too_large_is_refused(origin: Path, clones: Path):
    commit_files(origin, {f"{number}.bin": os.urandom(300_000) for number in range(10)})
    with pytest.raises(LimitExceeded) as caught:
        async with fetch(str(origin), None, limited(max_clone_bytes=200_000), ENVIRON, clones):
            pass
    assert caught.value.limit == "max_clone_bytes"
    assert entries_of(clones) == []


async def test_a_tree_of_trees_that_unfolds_without_end_is_refused_soon(origin: Path, clones: Path):
    tree = "".join(f"{REGULAR} blob {blob(origin, b'boom')}\tf{number}\n" for number in range(10))
    tree_id = ""
    for _ in range(10):  # 10 ** 11 files in 12 objects
        tree_id = git(origin, "mktree", stdin=tree.encode())
        tree = "".join(f"040000 tree {tree_id}\td{number}\n" for number in range(10))
    commit = git(origin, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit-tree", "-m", "bomb", tree_id)
    git(origin, "update-ref", "refs/heads/main", commit)
    with pytest.raises(LimitExceeded) as caught:
        async with asyncio.timeout(20):
            await _fetched_with(limited(max_files=1_000), origin, clones)
    assert caught.value.limit == "max_files"


async def _fetched_with(rules: SourceRules, origin: Path, clones: Path) -> None:
    async with fetch(str(origin), None, rules, ENVIRON, clones):
        pass


async def test_configuration_and_hooks_of_the_machine_and_of_the_repository_run_nothing(
    origin: Path, clones: Path, tmp_path: Path
):
    commit_files(origin, {"a": b"1", ".gitattributes": b"* filter=evil\n"})
    ran = tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {ran}\n")
    evil.chmod(0o755)
    for name in ("post-checkout", "pre-receive", "post-update", "reference-transaction", "fsmonitor-watchman"):
        (origin / "hooks").mkdir(exist_ok=True)
        shutil.copy(evil, origin / "hooks" / name)
    for key in (
        "uploadpack.packObjectsHook",
        "core.fsmonitor",
        "core.sshCommand",
        "core.gitProxy",
        "core.alternateRefsCommand",
    ):
        git(origin, "config", key, str(evil))
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[uploadpack]\n\tpackObjectsHook = {evil}\n[core]\n\thooksPath = {origin}/hooks\n"
    )
    environ = {
        **ENVIRON,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_SSH_COMMAND": str(evil),
    }
    async with fetch(str(origin), None, RULES, environ, clones) as repository:
        assert len(repository.entries) == 2
    assert not ran.exists()


async def test_a_copy_stands_alone_while_its_origin_changes_and_goes(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert not (repository.folder / "objects" / "info" / "alternates").exists()
        commit_files(origin, {"a": b"2"})
        shutil.rmtree(origin)
        assert contents(repository) == {"a": b"1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's files")
async def test_a_repository_of_another_user_is_read(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    _give_to(12_345, origin)
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert contents(repository) == {"a": b"1"}


async def test_a_work_tree_and_its_git_folder_are_the_same_repository(tmp_path: Path, clones: Path):
    work = tmp_path / "work"
    work.mkdir()
    git(work, "init", "--quiet", "--initial-branch=main")
    commit_files(work, {"a": b"1"})
    for git_url in (str(work), f"{work}/.git"):
        async with fetch(git_url, None, RULES, ENVIRON, clones) as repository:
            assert repository.url == f"file://{work}"


async def test_a_linked_work_tree_is_read_like_any_other(origin: Path, clones: Path, tmp_path: Path):
    commit_files(origin, {"a": b"1"})
    git(origin, "worktree", "add", "--quiet", str(tmp_path / "linked"), "-b", "side")
    async with fetch(str(tmp_path / "linked"), "side", RULES, ENVIRON, clones) as repository:
        assert contents(repository) == {"a": b"1"}


async def test_a_damaged_repository_is_unavailable(origin: Path, clones: Path):
    commit_files(origin, {"a": os.urandom(5_000)})
    for stored in (origin / "objects").glob("??/*"):
        stored.chmod(0o600)
        stored.write_bytes(stored.read_bytes()[:20])
    with pytest.raises(SourceUnavailable):
        await _fetched(origin, None, clones)
    assert entries_of(clones) == []


async def test_a_repository_that_vanishes_while_it_is_copied_is_unavailable_or_was_copied_whole(
    origin: Path, clones: Path
):
    files = {f"{number}.bin": os.urandom(200_000) for number in range(40)}
    commit_files(origin, files)
    attempt = asyncio.create_task(_read_all(origin, clones))
    await _until_cloning(clones)
    shutil.rmtree(origin)
    try:
        read = await attempt
    except SourceUnavailable:
        read = files
    assert read == files
    assert entries_of(clones) == []


async def _read_all(origin: Path, clones: Path) -> dict[str, bytes]:
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        return contents(repository)


async def test_a_cancelled_fetch_leaves_nothing(origin: Path, clones: Path):
    commit_files(origin, {f"{number}.bin": os.urandom(200_000) for number in range(40)})
    attempt = asyncio.create_task(_fetched(origin, None, clones))
    await _until_cloning(clones)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert entries_of(clones) == []
    assert _processes_about(clones) == []


async def test_too_little_time_is_an_error_that_names_the_limit(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    with pytest.raises(SourceUnavailable, match=r"longer than 0\.001 s .*fetch_timeout_s"):
        await _fetched_with(limited(fetch_timeout_s=0.001), origin, clones)
    assert entries_of(clones) == []


async def test_an_error_of_the_user_of_a_copy_is_passed_on_and_the_copy_removed(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    with pytest.raises(TimeoutError):
        async with fetch(str(origin), None, RULES, ENVIRON, clones):
            raise TimeoutError
    assert entries_of(clones) == []


async def test_leftovers_of_a_killed_process_are_removed_and_copies_in_use_are_not(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    script = (
        "import asyncio, os, sys\nfrom pathlib import Path\nfrom librarian.config import SourceRules\n"
        "from librarian.git_source import fetch\n"
        "async def main():\n"
        f"    async with fetch({str(origin)!r}, None, SourceRules(local=True), os.environ, Path({str(clones)!r})):\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    _run_script(script)
    assert len(entries_of(clones)) == 1
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert remove_leftovers(clones) == 1
        assert contents(repository) == {"a": b"1"}
        assert remove_leftovers(clones) == 0
    assert remove_leftovers(clones / "nowhere") == 0


async def test_blobs_are_read_in_any_order_and_number_without_blocking(origin: Path, clones: Path):
    commit_files(origin, {f"{number}": b"%d\n" % number * 20 for number in range(5_000)})
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        wanted = [entry.blob_id for entry in reversed(repository.entries)] * 2
        read = list(read_blobs(repository.folder, wanted))
        assert [blob_id for blob_id, _ in read] == wanted
        assert list(read_blobs(repository.folder, [])) == []
        assert next(read_blobs(repository.folder, wanted))[0] == wanted[0]


async def test_reading_from_a_copy_that_is_gone_is_unavailable(origin: Path, clones: Path):
    commit_files(origin, {"a": b"1"})
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        entry = repository.entries[0]
    with pytest.raises(SourceUnavailable, match="gone or damaged"):
        list(read_blobs(repository.folder, [entry.blob_id]))


def test_only_ids_of_blobs_are_asked_for(tmp_path: Path):
    with pytest.raises(ValueError, match="no id of a blob"):
        list(read_blobs(tmp_path, ["HEAD:secret"]))


async def test_a_repository_with_sha256_ids_is_read(tmp_path: Path, clones: Path):
    origin = tmp_path / "sha256"
    origin.mkdir()
    git(origin, "init", "--quiet", "--bare", "--initial-branch=main", "--object-format=sha256")
    commit = commit_files(origin, {"a": b"1"})
    async with fetch(str(origin), None, RULES, ENVIRON, clones) as repository:
        assert contents(repository) == {"a": b"1"}
        assert repository.commit == commit
        assert isinstance(repository.entries[0], BlobEntry)


def _processes_about(folder: Path) -> list[str]:
    commands: list[str] = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in command and command.startswith("git"):
            commands.append(command)
    return commands


async def _until_cloning(clones: Path) -> None:
    while True:
        if _is_cloning(clones):
            return
        await asyncio.sleep(0)


def _is_cloning(clones: Path) -> bool:
    return any(clones.glob("*/repository"))


def _give_to(user_id: int, folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user_id, user_id)


def _run_script(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
