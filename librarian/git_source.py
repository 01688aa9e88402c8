"""A repository as a source of files: what it is at, a bare shallow copy of it, the list of its files, their content.

There is never a work tree: no symbolic link is followed, no hook, filter or submodule runs, no name reaches the file
system. Files are read from git's store by the ids of their blobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from librarian.config import IngestLimits, SourceRules
from librarian.errors import LimitExceeded, SourceUnavailable
from librarian.git_files import BlobEntry, list_files, read_blobs
from librarian.git_folder import remove_leftovers, temporary_folder
from librarian.git_problem import git_error
from librarian.git_process import GitOutput, check_git_can_pin, run_git, source_environment
from librarian.git_url import GitUrl, check_branch, parse_git_url, public_addresses
from librarian.values import Skipped

__all__ = ["BlobEntry", "Repository", "Resolved", "fetch", "read_blobs", "remove_leftovers", "resolve"]

_WATCH_EVERY_S = 0.1
_NAMED_BRANCHES = 10


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a branch of a repository is at. url: canonical, without credentials."""

    url: str
    branch: str
    commit: str


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

    Raises InvalidRequest, SourceRefused, SourceUnavailable, LibraryStorageError.
    """
    url = _checked(git_url, branch, rules)
    with temporary_folder(Path(tempfile.gettempdir())) as home:
        async with _time_limit(url, rules.limits):
            environment = await _environment(url, rules, environ, home)
            commit, branch = await _ask(url, branch, environment, home, rules.limits)
    return Resolved(url.url, branch, commit)


@contextlib.asynccontextmanager
async def fetch(
    git_url: str, branch: str | None, rules: SourceRules, environ: Mapping[str, str], folder: Path
) -> AsyncIterator[Repository]:
    """A copy of one branch as it is now, under `folder`, removed at the end however that comes.

    Raises InvalidRequest, SourceRefused, SourceUnavailable, LimitExceeded, LibraryStorageError.
    """
    url = _checked(git_url, branch, rules)
    with temporary_folder(folder) as home:
        async with _time_limit(url, rules.limits):
            environment = await _environment(url, rules, environ, home)
            clone, branch = await _clone(url, branch, environment, home, rules.limits)
            commit, entries, skipped = await list_files(url, environment, clone, rules.limits)
        yield Repository(url.url, branch, commit, clone, entries, skipped)


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
    addresses = await public_addresses(url, rules)
    environment = source_environment(url, addresses, rules, environ, home)
    if addresses and url.scheme == "https":
        await check_git_can_pin(url, environment, home, rules.limits)
    return environment


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
        raise git_error(url, output, environment)
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
    more = len(names) - _NAMED_BRANCHES
    there = ", ".join(names[:_NAMED_BRANCHES]) + (f" and {more} more" if more > 0 else "")
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
        raise git_error(url, output, environment)
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
