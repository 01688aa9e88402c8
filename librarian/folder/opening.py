"""The root folder of the libraries, from how it is written in the configuration."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as fs

from librarian.errors import LibraryStorageError
from librarian.folder.base import Folder, storage_errors
from librarian.folder.local import LocalFolder
from librarian.folder.remote import RemoteFolder


def open_folder(root: str, cache_folder: str | None = None) -> Folder:
    """root: a path, or a URI that pyarrow knows.

    Raises:
        LibraryStorageError
    """
    if "://" not in root:
        return LocalFolder(root)
    try:
        filesystem, path = fs.FileSystem.from_uri(root)
    except (pa.ArrowInvalid, OSError, NotImplementedError) as error:
        raise LibraryStorageError(root.partition("?")[0], f"no filesystem for this URI: {error}") from error
    if isinstance(filesystem, fs.LocalFileSystem):
        return LocalFolder(path)
    return RemoteFolder(filesystem, path, Path(cache_folder) if cache_folder else _default_cache(root))


def _default_cache(root: str) -> Path:
    """For this user alone, in a folder where others might have made one before.

    Raises:
        LibraryStorageError
    """
    name = f"organism-librarian-{os.getuid()}-{hashlib.sha256(root.encode()).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()) / name
    with storage_errors(str(folder)):
        folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            problem = "this folder for copies belongs to somebody else; remove it, or set TMPDIR to another folder"
            raise LibraryStorageError(str(folder), problem)
        folder.chmod(stat.S_IRWXU)
    return folder
