"""The files of one library: a folder of data files that never change, and the manifest that names it.

    <library_id>/manifest.json
    <library_id>/<version>/{files,chunks,symbols,terms,postings,windows}.parquet, vectors…

A new version is written beside the old one and takes its place with the manifest. Whoever reads the old one at that
moment keeps what it has opened; what it has not, it finds gone, and reads the manifest again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from librarian.errors import LibraryDamaged, LibraryStorageError
from librarian.folder.base import Folder, storage_errors
from librarian.index.base import VectorIndex, VectorIndexFile
from librarian.manifest import MANIFEST, DataFile, Manifest, check_sizes, decode_manifest, encode_manifest
from librarian.parts import Part
from librarian.tables import CHUNKS, FILES, POSTINGS, SYMBOLS, TERMS, WINDOWS, Tables

SCHEMAS = {
    "files": FILES,
    "chunks": CHUNKS,
    "symbols": SYMBOLS,
    "terms": TERMS,
    "postings": POSTINGS,
    "windows": WINDOWS,
}
LIBRARY_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}-[0-9a-f]{8}")
"""Other names in the root folder are no libraries; a name that a client sends is never more than a look-up."""


@dataclass(frozen=True, slots=True)
class OpenLibrary:
    manifest: Manifest
    tables: Tables
    vectors: VectorIndex

    @property
    def part(self) -> Part:
        ids = np.arange(self.manifest.windows, dtype=np.int64)
        found = self.vectors.vectors(ids) if len(ids) else np.zeros((0, self.manifest.dim), np.float32)
        return Part(self.tables, found.astype(np.float16))

    @property
    def memory_bytes(self) -> int:
        tables = sum(getattr(self.tables, each.name).nbytes for each in fields(Tables))
        return tables + self.manifest.windows * self.manifest.dim * 4


class Library:
    """One library of a root folder; may not exist. All calls block."""

    def __init__(self, folder: Folder, library_id: str, index: VectorIndexFile) -> None:
        self._folder = folder
        self._id = library_id
        self._index = index

    @property
    def manifest_path(self) -> str:
        return f"{self._id}/{MANIFEST}"

    def manifest(self) -> Manifest | None:
        """None where there is no such library.

        Raises:
            LibraryDamaged
            LibraryStorageError
        """
        if not LIBRARY_ID.fullmatch(self._id):
            return None
        try:
            return decode_manifest(self._id, self._folder.read(self.manifest_path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def damage(self, manifest: Manifest) -> str | None:
        """What a look at the sizes of its files finds."""
        return check_sizes(manifest, self._folder.sizes(f"{self._id}/{manifest.version}"))

    def open(self, manifest: Manifest) -> OpenLibrary:
        """
        Raises:
            LibraryDamaged: also where its version was replaced since the manifest was read.
            LibraryStorageError
        """
        with self._reading(manifest) as place:
            self._check(manifest, place)
            tables = Tables(**{name: _read_table(place / f"{name}.parquet") for name in SCHEMAS})
            for name, schema in SCHEMAS.items():
                if getattr(tables, name).schema != schema:
                    raise LibraryDamaged(self._id, f"{name}.parquet has other columns")
            return OpenLibrary(manifest, tables, self._index.open(place, manifest.windows, manifest.dim))

    def listed(self, manifest: Manifest) -> dict[str, list[str]]:
        """path, blob_id and problem of its files, without opening the rest; raises as `open`."""
        with self._reading(manifest) as place:
            return _read_table(place / "files.parquet", ["path", "blob_id", "problem"]).to_pydict()

    @contextmanager
    def _reading(self, manifest: Manifest) -> Generator[Path]:
        """The folder of its data files; what is wrong with them is damage."""
        try:
            with storage_errors(self._id):
                yield self._folder.local(f"{self._id}/{manifest.version}")
        except FileNotFoundError as error:
            raise LibraryDamaged(
                self._id, f"{Path(error.filename or '').name or manifest.version} is missing"
            ) from error
        except (ValueError, RuntimeError) as error:  # pyarrow's errors are ValueErrors, those of FAISS RuntimeErrors
            raise LibraryDamaged(self._id, str(error).partition("\n")[0]) from error

    def write(
        self, part: Part, facts: Callable[[str, dict[str, DataFile]], Manifest], current: Manifest | None
    ) -> Manifest:
        """Writes and publishes a version; `facts` makes the manifest from its name and its data files. The files of
        `current` are kept where they are the same, and removed where they are not.

        Raises:
            LibraryStorageError: nothing has changed.
        """
        new = self._folder.scratch / uuid.uuid4().hex
        try:
            with storage_errors(self._id):
                new.mkdir(parents=True)
                data = self._write_data(part, new)
            kept = current is not None and current.data == data and self.intact(current)
            version = current.version if current is not None and kept else self._new_version(data)
            manifest = facts(version, data)
            if not kept:
                self._folder.add(new, f"{self._id}/{version}")
            self._folder.replace(self.manifest_path, encode_manifest(manifest))
        finally:
            shutil.rmtree(new, ignore_errors=True)
        with suppress(LibraryStorageError):  # published it is; the next ingest cleans, too
            self.clean(manifest)
        return manifest

    def rewrite(self, manifest: Manifest, **changes: str) -> Manifest:
        """Publishes other facts of the same version."""
        changed = replace(manifest, **changes)
        self._folder.replace(self.manifest_path, encode_manifest(changed))
        return changed

    def clean(self, manifest: Manifest) -> None:
        """Removes what no manifest names."""
        for name in self._folder.names(self._id):
            if name not in (MANIFEST, manifest.version):
                self._folder.remove(f"{self._id}/{name}")

    def remove(self) -> None:
        """The manifest first: killed in between, it is no library any more, and the rest is rubbish."""
        self._folder.remove(self.manifest_path)
        self._folder.remove(self._id)

    def _write_data(self, part: Part, new: Path) -> dict[str, DataFile]:
        for name, schema in SCHEMAS.items():
            _write_table(getattr(part.tables, name), schema, new / f"{name}.parquet")
        self._index.write(new, part.vectors.astype(np.float32))
        return {file.name: DataFile(file.stat().st_size, _sha256(file)) for file in sorted(new.iterdir())}

    def _new_version(self, data: dict[str, DataFile]) -> str:
        """Named by content; a damaged folder of the same content may still be there."""
        digest = hashlib.sha256("".join(f"{name}{file.sha256}" for name, file in sorted(data.items())).encode())
        version = taken = digest.hexdigest()[:16]
        names = self._folder.names(self._id)
        again = 1
        while version in names:
            again += 1
            version = f"{taken}-{again}"
        return version

    def intact(self, manifest: Manifest) -> bool:
        """Whether its files are those of the manifest, byte for byte."""
        try:
            if self.damage(manifest) is not None:
                return False
            self._check(manifest, self._folder.local(f"{self._id}/{manifest.version}"))
        except (LibraryDamaged, FileNotFoundError):
            return False
        return True

    def _check(self, manifest: Manifest, place: Path) -> None:
        for name, file in manifest.data.items():
            if _sha256(place / name) != file.sha256:
                raise LibraryDamaged(self._id, f"the checksum of {name} is wrong")


def library_ids(folder: Folder) -> list[str]:
    """All folders that could be libraries, also those without a manifest."""
    return [name for name in folder.names() if LIBRARY_ID.fullmatch(name)]


def _write_table(table: pa.Table, schema: pa.Schema, path: Path) -> None:
    """One row group; what repeats is kept as a dictionary, what never does is not tried."""
    repeating = [name for name in schema.names if name in ("language", "kind", "chunk_type", "name", "problem")]
    pq.write_table(
        table.combine_chunks(),
        path,
        row_group_size=max(1, table.num_rows),
        compression="zstd",
        compression_level=1,
        use_dictionary=repeating,  # pyright: ignore[reportArgumentType] - a list is documented
        write_statistics=False,
    )


def _read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
