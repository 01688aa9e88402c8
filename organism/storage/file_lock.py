"""A lock on a file that one holder has at a time, also within one process; it ends with the holder's processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from organism.errors import StorageLocked

POLL_S = 0.02


class FileLock:
    """An flock on `<path>.lock`, which holds the pid of the last holder.

    The file stays when the lock is released: removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self._locked_path = path
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """A process that inherits it holds the lock too, until it ends."""
        if self._descriptor is None:
            raise RuntimeError("the lock is not held")
        return self._descriptor

    async def acquire(self, timeout_s: float) -> None:
        """Takes the lock. Waits only where its holder is dead, for what that one's children are still finishing.

        Raises:
            StorageLocked: a living process has it, which the text names, or the children did not end in time.
            OSError: the lock file cannot be made.
        """
        waited_s = 0.0
        while not self._try():
            holder = self._holder()
            if waited_s >= timeout_s or _lives(holder):
                raise StorageLocked(f"{self._locked_path} (process {holder or 'unknown'})")
            await asyncio.sleep(POLL_S)
            waited_s += POLL_S

    def release(self) -> None:
        """Gives the lock back; nothing happens without it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _holder(self) -> int | None:
        text = self._path.read_text()
        return int(text) if text.isdecimal() else None


def _lives(pid: int | None) -> bool:
    try:
        os.kill(pid or os.getpid(), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and someone else's
        return True
    return True
