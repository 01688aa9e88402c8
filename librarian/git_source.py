"""A repository as a source of files: what it is at, a bare shallow copy of it, the list of its files, their content.

There is never a work tree: no symbolic link is followed, no hook, filter or submodule runs, no name reaches the file
system. Files are read from git's store by the ids of their blobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from librarian.config import IngestLimits, SourceRules
from librarian.errors import LimitExceeded, SourceUnavailable
from librarian.git_problem import git_problem
from librarian.git_process import GitOutput, base_environment, run_git, source_environment
from librarian.git_url import GitUrl, check_branch, parse_git_url, public_addresses
from librarian.values import Skipped

_PREFIX = "clone-"
_LOCK = "lock"
_WATCH_EVERY_S = 0.1
_LEFTOVER_WITHOUT_LOCK_S = 60.0
_BLOB_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NAMED_BRANCHES = 10
_FILE_MODES = (b"100644", b"100755", b"100664")
_SKIPPED_MODES = {b"120000": "symlink", b"160000": "submodule"}


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a branch of a repository is at. url: canonical, without credentials."""

    url: str
    branch: str
    commit: str


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A file of the repository: git knows its content as `blob_id`."""

    path: str
    blob_id: str
    size: int


@dataclass(frozen=True, slots=True)
class Repository:
    """A copy in `folder` that lasts as long as the `fetch` around it.

    skipped: symlink, submodule, bad_path (a name that is not UTF-8, or could lead elsewhere), too_large.
    """

    url: str
    branch: str
    commit: str
    folder: Path
    entries: list[BlobEntry]
    skipped: list[Skipped]


async def resolve(git_url: str, branch: str | None, rules: SourceRules, environ: Mapping[str, str]) -> Resolved:
    """Asks the repository only, fetches nothing. No branch: the one its HEAD names.

    Raises InvalidRequest, SourceRefused, SourceUnavailable.
    """
    url = _checked(git_url, branch, rules)
    with tempfile.TemporaryDirectory(prefix="librarian-") as home:
        async with _time_limit(url, rules.limits):
            environment = await _environment(url, rules, environ, Path(home))
            commit, branch = await _ask(url, branch, environment, Path(home), rules.limits)
    return Resolved(url.url, branch, commit)


@contextlib.asynccontextmanager
async def fetch(
    git_url: str, branch: str | None, rules: SourceRules, environ: Mapping[str, str], folder: Path
) -> AsyncIterator[Repository]:
    """A copy of one branch as it is now, under `folder`, removed at the end however that comes.

    Raises InvalidRequest, SourceRefused, SourceUnavailable, LimitExceeded.
    """
    url = _checked(git_url, branch, rules)
    with _temporary_folder(folder) as home:
        async with _time_limit(url, rules.limits):
            environment = await _environment(url, rules, environ, home)
            clone, branch = await _clone(url, branch, environment, home, rules.limits)
            commit, entries, skipped = await _listed(url, environment, clone, rules.limits)
        yield Repository(url.url, branch, commit, clone, entries, skipped)


def read_blobs(folder: Path, blob_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """(blob id, content) in the order asked for. Blocks; for workers.

    Raises SourceUnavailable where the copy in `folder` is gone or damaged.
    """
    for blob_id in blob_ids:
        if not _BLOB_ID.fullmatch(blob_id):
            raise ValueError(f"{blob_id[:80]!r} is no id of a blob")
    with tempfile.TemporaryFile() as wanted:  # no pipe: git would wait for us to read while we wait for it to do so
        wanted.write("".join(f"{blob_id}\n" for blob_id in blob_ids).encode())
        wanted.seek(0)
        environment = base_environment(os.environ, folder)
        command = ["git", f"--git-dir={folder}", "cat-file", "--batch", "--buffer"]
        with subprocess.Popen(
            command, stdin=wanted, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        ) as process:
            try:
                yield from _read_batch(process, blob_ids)
            finally:
                process.kill()


def remove_leftovers(folder: Path) -> int:
    """Removes copies whose process died without doing so; how many. Copies in use are left alone. Blocks."""
    removed = 0
    for home in folder.glob(f"{_PREFIX}*"):
        if _is_leftover(home):
            shutil.rmtree(home, ignore_errors=True)
            removed += 1
    return removed


def _checked(git_url: str, branch: str | None, rules: SourceRules) -> GitUrl:
    if branch is not None:
        check_branch(branch)
    return parse_git_url(git_url, rules)


@contextlib.asynccontextmanager
async def _time_limit(url: GitUrl, limits: IngestLimits) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limits.fetch_timeout_s):
            yield
    except TimeoutError:
        problem = f"it took longer than {limits.fetch_timeout_s:g} s (librarian.limits.fetch_timeout_s)"
        raise SourceUnavailable(url.url, problem) from None


async def _environment(url: GitUrl, rules: SourceRules, environ: Mapping[str, str], home: Path) -> dict[str, str]:
    return source_environment(url, await public_addresses(url, rules), rules, environ, home)


async def _ask(
    url: GitUrl, branch: str | None, environment: Mapping[str, str], home: Path, limits: IngestLimits
) -> tuple[str, str]:
    wanted = "HEAD" if branch is None else f"refs/heads/{branch}"
    refs = await _remote_refs(url, ["--symref", "--", url.url, wanted], environment, home, limits)
    if branch is None and refs.get("HEAD") and refs.get("HEAD symref", "").startswith("refs/heads/"):
        return refs["HEAD"], refs["HEAD symref"].removeprefix("refs/heads/")
    if branch is not None and wanted in refs:
        return refs[wanted], branch
    raise SourceUnavailable(url.url, await _no_such_branch(url, branch, environment, home, limits))


async def _remote_refs(
    url: GitUrl, arguments: list[str], environment: Mapping[str, str], home: Path, limits: IngestLimits
) -> dict[str, str]:
    output = await run_git(["ls-remote", *arguments], environment, folder=home, limits=limits)
    if output.returncode:
        raise _unavailable(url, output, environment)
    refs: dict[str, str] = {}
    for line in output.stdout.decode("utf-8", "replace").splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            refs[f"{name} symref"] = value.removeprefix("ref: ")
        else:
            refs[name] = value
    return refs


async def _no_such_branch(
    url: GitUrl, branch: str | None, environment: Mapping[str, str], home: Path, limits: IngestLimits
) -> str:
    refs = await _remote_refs(url, ["--heads", "--", url.url], environment, home, limits)
    names = [name.removeprefix("refs/heads/") for name in refs]
    if not names:
        return "the repository is empty: it has no branch"
    there = ", ".join(names[:_NAMED_BRANCHES]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    if branch is None:
        return f"its HEAD names no branch; give one of {there}"
    return f"there is no branch {branch!r}; there are {there}"


async def _clone(
    url: GitUrl, branch: str | None, environment: Mapping[str, str], home: Path, limits: IngestLimits
) -> tuple[Path, str]:
    if branch is None:
        _, branch = await _ask(url, None, environment, home, limits)
    clone = home / "repository"
    output = await _clone_once(url, branch, clone, [_size_filter(limits)], environment, limits)
    if output.returncode and "fsck error" in output.stderr:
        # Together with a filter, git before 2.44 takes old histories' harmless faults for damage.
        shutil.rmtree(clone, ignore_errors=True)
        output = await _clone_once(url, branch, clone, [], environment, limits)
    _check_size(home, limits)
    if f"Remote branch {branch} not found" in output.stderr or (not output.returncode and not _is_at(branch, clone)):
        raise SourceUnavailable(url.url, await _no_such_branch(url, branch, environment, home, limits))
    if output.returncode:
        raise _unavailable(url, output, environment)
    _forget_origin(clone)
    return clone, branch


async def _clone_once(
    url: GitUrl, branch: str, clone: Path, options: list[str], environment: Mapping[str, str], limits: IngestLimits
) -> GitOutput:
    return await run_git(
        ["clone", "--quiet", "--bare", "--depth=1", "--single-branch", "--no-tags", "--template=", "--no-local",
         *options, "--branch", branch, "--", url.url, str(clone)],
        environment, folder=clone.parent, limits=limits, watch=lambda: _watch_size(clone.parent, limits),
    )  # fmt: skip


def _size_filter(limits: IngestLimits) -> str:
    return f"--filter=blob:limit={limits.max_file_bytes + 1}"


def _is_at(branch: str, clone: Path) -> bool:
    """Not at a tag: git takes the name of one for --branch too."""
    return (clone / "HEAD").read_text(encoding="utf-8", errors="replace").strip() == f"ref: refs/heads/{branch}"


def _forget_origin(clone: Path) -> None:
    """git fetches what a filter left out as soon as anybody asks for its size, unless it knows no origin."""
    config = clone / "config"
    sha256 = "sha256" in config.read_text(encoding="utf-8", errors="replace").lower()
    version, extensions = (1, "[extensions]\n\tobjectFormat = sha256\n") if sha256 else (0, "")
    config.write_text(f"[core]\n\trepositoryFormatVersion = {version}\n\tbare = true\n{extensions}", encoding="utf-8")


async def _watch_size(home: Path, limits: IngestLimits) -> None:
    while True:
        await asyncio.sleep(_WATCH_EVERY_S)
        _check_size(home, limits)


def _check_size(home: Path, limits: IngestLimits) -> None:
    total = 0
    for folder, _, names in os.walk(home):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    if total > limits.max_clone_bytes:
        raise LimitExceeded("max_clone_bytes", limits.max_clone_bytes, f"the repository has more than {total} bytes")


async def _listed(
    url: GitUrl, environment: Mapping[str, str], clone: Path, limits: IngestLimits
) -> tuple[str, list[BlobEntry], list[Skipped]]:
    git_dir = f"--git-dir={clone}"
    output = await run_git(
        [git_dir, "ls-tree", "-r", "-z", "--full-tree", "HEAD"], environment, folder=clone, limits=limits,
        max_stdout_bytes=limits.max_files * (64 + limits.max_path_bytes),
    )  # fmt: skip
    if output.truncated:
        raise LimitExceeded("max_files", limits.max_files, "the repository has too many or too long names of files")
    if output.returncode:
        raise _unavailable(url, output, environment)
    lines = output.stdout.split(b"\0")[:-1]
    if len(lines) > limits.max_files:
        raise LimitExceeded("max_files", limits.max_files, f"the repository has {len(lines)} files")
    files, skipped = _sorted_out(lines)
    commit, sizes = await _sizes(url, [blob_id for _, blob_id in files], environment, clone, limits)
    entries: list[BlobEntry] = []
    for (path, blob_id), size in zip(files, sizes, strict=True):
        if size is None or size > limits.max_file_bytes:
            skipped.append(Skipped(path, "too_large"))
        else:
            entries.append(BlobEntry(path, blob_id, size))
    total = sum(entry.size for entry in entries)
    if total > limits.max_total_bytes:
        raise LimitExceeded("max_total_bytes", limits.max_total_bytes, f"the files have {total} bytes together")
    return commit, entries, skipped


def _sorted_out(lines: list[bytes]) -> tuple[list[tuple[str, str]], list[Skipped]]:
    """Lines of ls-tree: (path, blob id) of files, and what is none."""
    files: list[tuple[str, str]] = []
    skipped: list[Skipped] = []
    for line in lines:
        details, _, raw_path = line.partition(b"\t")
        mode, _, blob_id = details.split(b" ")
        path = _safe_path(raw_path)
        if path is None:
            skipped.append(Skipped(_shown_path(raw_path), "bad_path"))
        elif mode in _FILE_MODES:
            files.append((path, blob_id.decode("ascii")))
        else:
            skipped.append(Skipped(path, _SKIPPED_MODES.get(mode, "unknown_mode")))
    return files, skipped


def _safe_path(raw: bytes) -> str | None:
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if path.isprintable() and not _leads_elsewhere(path):
        return path
    return None


def _leads_elsewhere(path: str) -> bool:
    return any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/"))


def _shown_path(raw: bytes) -> str:
    return raw[:1_000].decode("utf-8", "backslashreplace").encode("unicode_escape").decode("ascii")


async def _sizes(
    url: GitUrl, blob_ids: list[str], environment: Mapping[str, str], clone: Path, limits: IngestLimits
) -> tuple[str, list[int | None]]:
    """The commit that HEAD names, and the bytes of each blob; None for those that were left out as too large."""
    output = await run_git(
        [f"--git-dir={clone}", "cat-file", "--batch-check=%(objectname) %(objectsize)", "--buffer"],
        environment, folder=clone, limits=limits, stdin="\n".join(["HEAD", *blob_ids, ""]).encode(),
        max_stdout_bytes=(len(blob_ids) + 2) * 100,
    )  # fmt: skip
    commit, *lines = output.stdout.decode("ascii", "replace").splitlines() or [""]
    if output.returncode or len(lines) != len(blob_ids):
        raise _unavailable(url, output, environment)
    sizes = (line.partition(" ")[2] for line in lines)
    return commit.partition(" ")[0], [int(size) if size.isdigit() else None for size in sizes]


def _unavailable(url: GitUrl, output: GitOutput, environment: Mapping[str, str]) -> SourceUnavailable:
    return SourceUnavailable(url.url, git_problem(url, output, environment))


def _read_batch(process: subprocess.Popen[bytes], blob_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    stdout = process.stdout
    assert stdout is not None
    for blob_id in blob_ids:
        header = stdout.readline().split()
        if len(header) != 3 or header[0] != blob_id.encode() or header[1] != b"blob":
            raise SourceUnavailable("the copy of the repository", "it is gone or damaged; ingest again")
        size = int(header[2])
        data = stdout.read(size + 1)
        if len(data) != size + 1:
            raise SourceUnavailable("the copy of the repository", "it is gone or damaged; ingest again")
        yield blob_id, data[:-1]


@contextlib.contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """Locked as long as this process lives, so that others can tell it from one that was left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder.resolve()))
    try:
        with (home / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _is_leftover(home: Path) -> bool:
    try:
        with (home / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except FileNotFoundError:  # between its making and its locking, or a removal that did not finish
        with contextlib.suppress(OSError):
            return time.time() - home.stat().st_mtime > _LEFTOVER_WITHOUT_LOCK_S
        return False
