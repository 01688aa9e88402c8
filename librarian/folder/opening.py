"""The root folder of the libraries, from how it is written in the configuration."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as fs

from librarian.errors import LibraryStorageError
from librarian.folder.base import Folder
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
    return Path(tempfile.gettempdir()) / f"organism-librarian-{hashlib.sha256(root.encode()).hexdigest()[:12]}"
