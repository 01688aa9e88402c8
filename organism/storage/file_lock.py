"""A lock on a file that one holder has at a time, also within one process; it ends with the holder's process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from organism.errors import StorageLocked


class FileLock:
    """An flock on `<path>.lock`, which holds the pid of the last holder.

    The file stays when the lock is released: removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self._locked_path = path
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock at once or not at all.

        Raises:
            StorageLocked: someone has it; the text says which process.
            OSError: the lock file cannot be made.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
            os.close(descriptor)
            raise StorageLocked(f"{self._locked_path} (process {holder})") from error
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the lock back; nothing happens without it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
