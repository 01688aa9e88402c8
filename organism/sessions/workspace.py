"""The files of a session: everything below one directory, and nothing else.

A path is resolved to its real path first, and refused when that lies outside (`..`, absolute paths, symbolic links,
`/work-secret` against `/work`). What is then opened is opened part by part from the directory's own descriptor,
without following links: one that is swapped in after the check leads nowhere. All methods block; async callers go
through asyncio.to_thread. No absolute path of the host is ever in a result or an error.
"""

from __future__ import annotations

import errno
import heapq
import os
import secrets
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from organism.errors import FileNotInWorkspace, OrganismError, PathRefused
from organism.private_folder import make_private

Kind = Literal["file", "directory"]

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_SEARCHED = 50_000
"""Entries that one search or walk looks at."""
SKIPPED_DIRECTORIES = frozenset({
    ".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".mypy_cache", ".ruff_cache",
    ".pytest_cache",
})  # fmt: skip

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(NamedTuple):
    """A file or directory. size: bytes, 0 for directories. modified: ms since the epoch. path: from the workspace,
    with `/`; `.` is the workspace itself."""

    name: str
    type: Kind
    size: int
    modified: int
    path: str


class Workspace:
    """The directory `root`. One that is missing is an empty workspace, and is made by the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """Absolute; for whoever starts a command in it, never for clients."""
        return self._root

    def resolve(self, path: str) -> Path:
        """The real path on the host, whether or not there is anything.

        Raises:
            PathRefused: it leads out of the workspace, or is no path.
        """
        _check_form(path)
        root = self._root.resolve()
        try:
            real = (root / path).resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links
            raise PathRefused(path, "its symbolic links lead nowhere") from error
        if not real.is_relative_to(root):
            raise PathRefused(path, "it is outside of the workspace; paths are relative to the workspace")
        return real

    def relative(self, path: str) -> str:
        """`path` as it is shown: from the workspace, links resolved. Raises PathRefused."""
        return self.resolve(path).relative_to(self._root.resolve()).as_posix()

    def exists(self, path: str) -> bool:
        """Raises PathRefused."""
        try:
            self.info(path)
        except FileNotInWorkspace:
            return False
        return True

    def info(self, path: str) -> Entry:
        """Raises PathRefused (also for what is neither file nor directory), FileNotInWorkspace."""
        parts = self._parts(path)
        if not parts and not self._root.exists():
            return Entry(".", "directory", 0, 0, ".")
        with _errors_of(path), self._directory(parts[:-1]) as parent:
            name = parts[-1] if parts else "."
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        entry = _entry(name, "/".join(parts) or ".", status)
        if entry is None:
            raise PathRefused(path, "it is neither a file nor a directory")
        return entry

    def listing(self, path: str = ".", max_entries: int = 1000) -> list[Entry]:
        """What is in a directory: directories first, then by name; the first `max_entries` of them.

        Raises PathRefused, FileNotInWorkspace.
        """
        if self.info(path).type != "directory":
            raise PathRefused(path, "it is a file, not a directory")
        parts = self._parts(path)
        if not parts and not self._root.exists():
            return []
        with _errors_of(path):
            found = self._entries_of(parts)
        return heapq.nsmallest(max_entries, found, key=lambda each: (each.type != "directory", each.name))

    def walk(self, path: str = ".", max_entries: int = MAX_SEARCHED) -> Iterator[Entry]:
        """Everything below a directory, near things first; without what tools put there (.git, node_modules, …).

        Links are not followed. Ends after `max_entries`. Raises PathRefused, FileNotInWorkspace.
        """
        waiting = deque([self.relative(path)])
        self.info(path)
        seen = 0
        while waiting:
            directory = waiting.popleft()
            for entry in self._listing_if_there(directory):
                seen += 1
                if seen > max_entries:
                    return
                if entry.type == "directory" and entry.name in SKIPPED_DIRECTORIES:
                    continue
                if entry.type == "directory" and not self._is_link(entry.path):
                    waiting.append(entry.path)
                yield entry

    def search(self, q: str, kind: Kind | None = None, limit: int = 20) -> list[Entry]:
        """The files and directories whose relative path fits `q` best: as a part of it, or by its letters in order."""
        wanted = q.strip().casefold()
        ranked = ((_rank(wanted, each), each) for each in self.walk() if kind is None or each.type == kind)
        fitting = ((rank, len(each.path), each.path, each) for rank, each in ranked if rank is not None)
        return [each for *_, each in heapq.nsmallest(limit, fitting)]

    def read_bytes(self, path: str, max_bytes: int) -> bytes:
        """Raises PathRefused (also for a file larger than `max_bytes`), FileNotInWorkspace."""
        parts = self._parts(path)
        if not parts:
            raise PathRefused(path, "it is a directory")
        with _errors_of(path), self._directory(parts[:-1]) as parent:
            _check_regular(path, os.stat(parts[-1], dir_fd=parent, follow_symlinks=False))
            # O_NONBLOCK: a pipe put there since would block the open for ever
            descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NONBLOCK | _NO_LINK, dir_fd=parent)
            with os.fdopen(descriptor, "rb") as file:
                _check_regular(path, os.fstat(descriptor))
                content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise PathRefused(path, f"it is larger than {max_bytes} bytes")
        return content

    def read_text(self, path: str, max_bytes: int) -> str:
        """UTF-8. Raises PathRefused (also for binary files), FileNotInWorkspace."""
        content = self.read_bytes(path, max_bytes)
        if b"\x00" in content:
            raise PathRefused(path, "it is a binary file")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PathRefused(path, "it is not text in UTF-8") from error

    def write_text(self, path: str, text: str) -> Entry:
        """Writes the whole file, at once for every reader; makes the directories it needs. Raises PathRefused."""
        parts = self._parts(path)
        if not parts:
            raise PathRefused(path, "it is a directory")
        with _errors_of(path):
            content = text.encode()
            make_private(self._root)
            with self._directory(parts[:-1], create=True) as parent:
                _replace(path, parts[-1], content, parent)
        return self.info(path)

    def _parts(self, path: str) -> tuple[str, ...]:
        return self.resolve(path).relative_to(self._root.resolve()).parts

    @contextmanager
    def _directory(self, parts: tuple[str, ...], *, create: bool = False) -> Generator[int]:
        """A descriptor of a directory, reached from the root without following a link."""
        descriptor = os.open(self._root, _DIRECTORY)
        try:
            for part in parts:
                if create:
                    _make_directory(part, descriptor)
                inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _entries_of(self, parts: tuple[str, ...]) -> list[Entry]:
        prefix = "".join(f"{part}/" for part in parts)
        with self._directory(parts) as descriptor, os.scandir(descriptor) as found:
            entries = [self._entry_of(each, prefix, descriptor) for each in found]
        return [each for each in entries if each is not None]

    def _entry_of(self, found: os.DirEntry[str], prefix: str, descriptor: int) -> Entry | None:
        path = f"{prefix}{found.name}"
        try:
            path.encode()  # a name that is no text cannot be shown
            status = os.stat(found.name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                return self.info(path)._replace(name=found.name, path=path)
        except (OSError, UnicodeEncodeError, OrganismError):  # gone meanwhile, or a link that leads out
            return None
        return _entry(found.name, path, status)

    def _listing_if_there(self, path: str) -> list[Entry]:
        """Empty for a directory that went away during a walk, or may not be read."""
        try:
            return self.listing(path, MAX_SEARCHED)
        except OrganismError:
            return []

    def _is_link(self, path: str) -> bool:
        return (self._root / path).is_symlink()


def _check_form(path: str) -> None:
    if "\x00" in path:
        raise PathRefused(path.replace("\x00", "\\0"), "it contains a NUL character")
    if "\\" in path:
        raise PathRefused(path, "it contains a backslash; separate directories with /")
    try:
        encoded = path.encode()
    except UnicodeEncodeError as error:
        raise PathRefused(path.encode(errors="replace").decode(), "it is not Unicode text") from error
    if len(encoded) > MAX_PATH_BYTES or any(len(part) > MAX_NAME_BYTES for part in encoded.split(b"/")):
        raise PathRefused(path[:100], "it is too long")


@contextmanager
def _errors_of(path: str) -> Generator[None]:
    """Turns the system's errors into ours; their own texts would show where the workspace is."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:  # the second: below a file, or a link swapped in
        raise FileNotInWorkspace(path) from error
    except IsADirectoryError as error:
        raise PathRefused(path, "it is a directory") from error
    except PermissionError as error:
        raise PathRefused(path, "permission denied") from error
    except UnicodeEncodeError as error:
        raise PathRefused(path, "the text holds what UTF-8 cannot") from error
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else os.strerror(error.errno or errno.EIO)
        raise PathRefused(path, reason) from error


def _entry(name: str, path: str, status: os.stat_result) -> Entry | None:
    modified = status.st_mtime_ns // 1_000_000
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, "directory", 0, modified, path)
    if stat.S_ISREG(status.st_mode):
        return Entry(name, "file", status.st_size, modified, path)
    return None


def _check_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise PathRefused(path, "it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise PathRefused(path, "it is no regular file")


def _make_directory(name: str, parent: int) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return  # opening it tells whether it is a directory


def _replace(path: str, name: str, content: bytes, parent: int) -> None:
    """Writes a new file beside the old one and renames it, keeping the permissions of the old one."""
    mode = _mode_of(path, name, parent)
    beside = f".{secrets.token_hex(8)}.tmp"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666, dir_fd=parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.write(content)
        os.rename(beside, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        os.unlink(beside, dir_fd=parent)
        raise


def _mode_of(path: str, name: str, parent: int) -> int | None:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    _check_regular(path, status)
    return stat.S_IMODE(status.st_mode)


def _rank(wanted: str, entry: Entry) -> int | None:
    """How well it fits, 0 best; None: not at all."""
    name, path = entry.name.casefold(), entry.path.casefold()
    tests: tuple[Callable[[], bool], ...] = (
        lambda: wanted in (name, path),
        lambda: name.startswith(wanted),
        lambda: wanted in name,
        lambda: wanted in path,
        lambda: _in_order(wanted, path),
    )
    return next((rank for rank, fits in enumerate(tests) if fits()), None)


def _in_order(letters: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)
