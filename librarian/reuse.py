"""What was made of a file once is not made again: its rows are taken from any library that has the same file.

There is no cache of its own to bound and to clean: what is deleted is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata, resources

import numpy as np

from librarian.config import IngestLimits
from librarian.errors import LibrarianError
from librarian.folder.base import Folder
from librarian.index.base import VectorIndexFile
from librarian.library import Library, library_ids
from librarian.manifest import Manifest
from librarian.packs import Entry
from librarian.parts import Part, select_files

SOURCES = ("", "languages", "embedder", "index")
"""Folders of this package whose code decides what a file becomes."""
PARSERS = ("tree-sitter", "tokenizers", "numpy", "pyarrow")


def fingerprint(embedder_name: str, limits: IngestLimits) -> str:
    """Two files with equal path and bytes become equal rows where this is equal. It changes with any line of code of
    this package: rather analyze once more than keep what an older version made."""
    digest = hashlib.sha256(f"{embedder_name} {limits.max_line_chars} {limits.parse_timeout_s}".encode())
    package = resources.files("librarian")
    for folder in SOURCES:
        for file in sorted(package.joinpath(folder).iterdir(), key=lambda each: each.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    for name in sorted(each.name for each in metadata.distributions() if each.name.startswith(PARSERS)):
        digest.update(f"{name} {metadata.version(name)}".encode())
    return digest.hexdigest()[:32]


class Reuse:
    """Remembers which files each library holds, by version."""

    def __init__(self, folder: Folder, index: VectorIndexFile) -> None:
        self._folder = folder
        self._index = index
        self._files: dict[str, tuple[str, dict[tuple[str, str], int]]] = {}

    def take(self, entries: Sequence[Entry], fingerprint: str, first: str) -> list[Part]:
        """Parts that hold some of these files, each at most once; library `first` is asked before the others."""
        wanted = {(entry.path, entry.blob_id) for entry in entries}
        parts: list[Part] = []
        for library_id in self._in_order(first):
            if not wanted:
                break
            part = self._part(library_id, wanted, fingerprint)
            if part is not None:
                wanted -= held_files([part])
                parts.append(part)
        return parts

    def _in_order(self, first: str) -> Iterable[str]:
        there = library_ids(self._folder)
        for gone in self._files.keys() - there:
            del self._files[gone]
        return sorted(there, key=lambda each: (each != first, each))

    def _part(self, library_id: str, wanted: set[tuple[str, str]], fingerprint: str) -> Part | None:
        library = Library(self._folder, library_id, self._index)
        try:
            manifest = library.manifest()
            if manifest is None or manifest.fingerprint != fingerprint:
                return None
            files = self._listed(library, manifest)
            rows = sorted(row for file, row in files.items() if file in wanted)
            return select_files(library.open(manifest).part, np.array(rows, np.int64)) if rows else None
        except LibrarianError:  # a damaged library is reported where it is asked for; here it has nothing to offer
            return None

    def _listed(self, library: Library, manifest: Manifest) -> dict[tuple[str, str], int]:
        version, files = self._files.get(manifest.library_id, ("", {}))
        if version != manifest.version:
            files = _files(library.listed(manifest))
            self._files[manifest.library_id] = (manifest.version, files)
        return files


def held_files(parts: Sequence[Part]) -> set[tuple[str, str]]:
    """(path, blob_id) of all."""
    return {
        pair
        for part in parts
        for pair in zip(part.tables.files["path"].to_pylist(), part.tables.files["blob_id"].to_pylist(), strict=True)
    }


def _files(columns: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
    """Files that had a problem, for example no time on a busy machine, get another chance."""
    rows = enumerate(zip(columns["path"], columns["blob_id"], columns["problem"], strict=True))
    return {(path, blob_id): row for row, (path, blob_id, problem) in rows if problem is None}
