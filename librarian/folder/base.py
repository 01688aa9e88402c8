"""The seam for storage: few calls on files of a root folder, by paths relative to it.

All block. Errors other than FileNotFoundError are LibraryStorageError.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from librarian.errors import LibraryStorageError


class Folder(Protocol):
    @property
    def scratch(self) -> Path:
        """A local folder for what is being made; on the root's own disk where that is local."""
        ...

    def held(self) -> AbstractContextManager[None]:
        """While in this block, no other process that asks for it changes anything below the root.

        Raises:
            LibraryStorageError: another one does, and did not end within a few seconds.
        """
        ...

    def names(self, path: str = "") -> list[str]:
        """Files and folders directly in this folder, sorted; none where there is no such folder."""
        ...

    def read(self, path: str) -> bytes:
        """
        Raises:
            FileNotFoundError
        """
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Writes a file whole or not at all; whoever reads sees the old one or the new one."""
        ...

    def stamp(self, path: str) -> Hashable | None:
        """Changes whenever the file is replaced; None where there is none. Much cheaper than reading where it can."""
        ...

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of each file directly in this folder; none where there is no such folder."""
        ...

    def add(self, source: Path, path: str) -> None:
        """Moves a folder of files from below `scratch` to `path`, which does not exist yet."""
        ...

    def local(self, path: str) -> Path:
        """A folder on this machine with the files of this one, which never change once they are added.

        Raises:
            FileNotFoundError
        """
        ...

    def remove(self, path: str) -> None:
        """A file, or a folder with all inside; nothing happens where there is none."""
        ...


@contextmanager
def storage_errors(place: str) -> Generator[None]:
    """Turns the system's errors into ours, except that something is not there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LibraryStorageError(place, error.strerror or str(error)) from error
