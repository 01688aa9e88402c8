"""Libraries on a filesystem that pyarrow knows: s3://, gs://, abfss://, hdfs://.

Object stores replace one object atomically, and nothing more than that is needed: data files get names that were never
used, the manifest comes last. Data files are copied to this machine before they are opened.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as fs

from librarian.folder.base import storage_errors


class RemoteFolder:
    """cache: a folder of this machine for copies and for what is being made. Only one organism may ingest into a root:
    object stores have no lock that ends with its process."""

    def __init__(self, filesystem: fs.FileSystem, root: str, cache: Path) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._cache = cache

    @property
    def scratch(self) -> Path:
        return self._cache / "tmp"

    @contextmanager
    def held(self) -> Generator[None]:
        yield

    def names(self, path: str = "") -> list[str]:
        return sorted(info.base_name for info in self._inside(path))

    def read(self, path: str) -> bytes:
        with storage_errors(path), self._filesystem.open_input_stream(self._at(path)) as stream:
            return stream.read()

    def replace(self, path: str, data: bytes) -> None:
        with storage_errors(path):
            self._make_folder(path)
            with self._filesystem.open_output_stream(self._at(path)) as stream:
                stream.write(data)

    def stamp(self, path: str) -> Hashable | None:
        """Of the content: the times that object stores keep are too coarse."""
        try:
            return hashlib.sha256(self.read(path)).digest()
        except FileNotFoundError:
            return None

    def sizes(self, path: str) -> dict[str, int]:
        return {info.base_name: info.size for info in self._inside(path) if info.type == fs.FileType.File}

    def add(self, source: Path, path: str) -> None:
        with storage_errors(path):
            self._filesystem.create_dir(self._at(path), recursive=True)
            for file in sorted(source.iterdir()):
                with (
                    file.open("rb") as data,
                    self._filesystem.open_output_stream(self._at(f"{path}/{file.name}")) as to,
                ):
                    shutil.copyfileobj(data, to, 1 << 22)
            shutil.rmtree(source)

    def local(self, path: str) -> Path:
        copy = self._cache / path
        if not copy.exists():
            self._download(path, copy)
        return copy

    def remove(self, path: str) -> None:
        shutil.rmtree(self._cache / path, ignore_errors=True)
        with storage_errors(path):
            kind = self._filesystem.get_file_info(self._at(path)).type
            if kind == fs.FileType.Directory:
                self._filesystem.delete_dir(self._at(path))
            elif kind == fs.FileType.File:
                self._filesystem.delete_file(self._at(path))

    def _download(self, path: str, copy: Path) -> None:
        infos = self._inside(path)
        if not infos:
            raise FileNotFoundError(path)
        new = self.scratch / uuid.uuid4().hex
        with storage_errors(str(copy)):
            new.mkdir(parents=True)
            try:
                for info in infos:
                    with self._filesystem.open_input_stream(info.path) as data, (new / info.base_name).open("wb") as to:
                        shutil.copyfileobj(data, to, 1 << 22)
                self._take_place(new, copy)
            finally:
                shutil.rmtree(new, ignore_errors=True)

    @staticmethod
    def _take_place(new: Path, copy: Path) -> None:
        """Copies of older versions go; who has them open keeps them."""
        copy.parent.mkdir(parents=True, exist_ok=True)
        for other in copy.parent.iterdir():
            if other != copy:
                shutil.rmtree(other, ignore_errors=True)
        try:
            new.rename(copy)
        except OSError:
            if not copy.exists():  # else another process on this machine was faster
                raise

    def _make_folder(self, path: str) -> None:
        folder = self._at(path).rpartition("/")[0]
        self._filesystem.create_dir(folder, recursive=True)

    def _inside(self, path: str) -> list[fs.FileInfo]:
        with storage_errors(path or self._root):
            return self._filesystem.get_file_info(fs.FileSelector(self._at(path), allow_not_found=True))

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root
