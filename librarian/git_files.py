"""The files of a bare repository: their list, and their content by the ids of their blobs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from librarian.config import IngestLimits
from librarian.errors import LimitExceeded, SourceUnavailable
from librarian.git_problem import git_error
from librarian.git_process import NO_GIT, base_environment, run_git
from librarian.git_url import GitUrl
from librarian.values import Skipped

_BLOB_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_FILE_MODES = (b"100644", b"100755", b"100664")
_SKIPPED_MODES = {b"120000": "symlink", b"160000": "submodule"}


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A file of the repository: git knows its content as `blob_id`."""

    path: str
    blob_id: str
    size: int


async def list_files(
    url: GitUrl, environment: Mapping[str, str], clone: Path, limits: IngestLimits
) -> tuple[str, list[BlobEntry], list[Skipped]]:
    """The commit that HEAD names, its files, and what of it is no file, has no usable name or is too large.

    Raises LimitExceeded, SourceUnavailable.
    """
    git_dir = f"--git-dir={clone}"
    output = await run_git(
        [git_dir, "ls-tree", "-r", "-z", "--full-tree", "HEAD"], environment, folder=clone, limits=limits,
        max_stdout_bytes=limits.max_files * (64 + limits.max_path_bytes),
    )  # fmt: skip
    if output.truncated:
        raise LimitExceeded("max_files", limits.max_files, "the repository has too many or too long names of files")
    if output.returncode:
        raise git_error(url, output, environment)
    lines = output.stdout.split(b"\0")[:-1]
    if len(lines) > limits.max_files:
        raise LimitExceeded("max_files", limits.max_files, f"the repository has {len(lines)} files")
    files, skipped = await asyncio.to_thread(_sorted_out, lines)
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
        try:
            process = subprocess.Popen(
                command, stdin=wanted, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
        except FileNotFoundError:
            raise SourceUnavailable("the copy of the repository", NO_GIT) from None
        with process:
            try:
                yield from _read_batch(process, blob_ids)
            finally:
                process.kill()


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
        raise git_error(url, output, environment)
    sizes = (line.partition(" ")[2] for line in lines)
    return commit.partition(" ")[0], [int(size) if size.isdigit() else None for size in sizes]


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
