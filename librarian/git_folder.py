"""Folders for copies of repositories, which go away with whoever made them."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from librarian.errors import LibraryStorageError

_PREFIX = "git-copy-"
_LOCK = "lock"
_LEFTOVER_WITHOUT_LOCK_S = 60.0


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A new one in `folder`. Locked as long as this process lives, so that others can tell it from a leftover.

    Raises LibraryStorageError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder.resolve()))
    except OSError as error:
        raise LibraryStorageError(str(folder), error.strerror or str(error)) from error
    try:
        with _locked(home):
            yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _locked(home: Path) -> IO[bytes]:
    try:
        lock = (home / _LOCK).open("wb")
    except OSError as error:
        raise LibraryStorageError(str(home), error.strerror or str(error)) from error
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def remove_leftovers(folder: Path) -> int:
    """Removes copies whose process died without doing so; how many. Copies in use are left alone. Blocks."""
    removed = 0
    for home in folder.glob(f"{_PREFIX}*"):
        if _is_leftover(home):
            shutil.rmtree(home, ignore_errors=True)
            removed += 1
    return removed


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
