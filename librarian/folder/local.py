"""Libraries in a folder of this machine, or of a disk that several machines share."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from pathlib import Path

from librarian.errors import LibraryStorageError
from librarian.folder.base import storage_errors

LOCK_WAIT_S = 10.0
"""The process before, killed a moment ago, holds the lock until the system has cleared it away."""


class LocalFolder:
    def __init__(self, root: str) -> None:
        self._root = Path(root).absolute()

    @property
    def scratch(self) -> Path:
        return self._root / "tmp"

    @contextmanager
    def held(self) -> Generator[None]:
        with storage_errors(str(self._root)):
            self._root.mkdir(parents=True, exist_ok=True)
            lock = (self._root / ".lock").open("w")
        with lock:
            self._lock(lock.fileno())
            yield

    def _lock(self, file: int) -> None:
        end = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    problem = "another process ingests into this folder (one organism at a time)"
                    raise LibraryStorageError(str(self._root), problem) from None
                time.sleep(0.05)

    def names(self, path: str = "") -> list[str]:
        try:
            with storage_errors(path):
                return sorted(each.name for each in (self._root / path).iterdir())
        except FileNotFoundError:
            return []

    def read(self, path: str) -> bytes:
        with storage_errors(path):
            return (self._root / path).read_bytes()

    def replace(self, path: str, data: bytes) -> None:
        target = self._root / path
        new = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        with storage_errors(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(target)
            except BaseException:
                new.unlink(missing_ok=True)
                raise
            _sync(target.parent)

    def stamp(self, path: str) -> Hashable | None:
        try:
            with storage_errors(path):
                found = (self._root / path).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def sizes(self, path: str) -> dict[str, int]:
        try:
            with storage_errors(path), os.scandir(self._root / path) as entries:
                return {entry.name: entry.stat().st_size for entry in entries}
        except FileNotFoundError:
            return {}

    def add(self, source: Path, path: str) -> None:
        target = self._root / path
        with storage_errors(path):
            for file in source.iterdir():
                _sync(file)
            _sync(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            _sync(target.parent)

    def local(self, path: str) -> Path:
        return self._root / path

    def remove(self, path: str) -> None:
        target = self._root / path
        try:
            with storage_errors(path):
                if target.is_dir():
                    shutil.rmtree(target)
                else:
                    target.unlink()
        except FileNotFoundError:
            return


def _sync(path: Path) -> None:
    """So that a power cut after what comes next cannot lose this."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
