"""manifest.json: what a library is, and the names, sizes and checksums of its files. Replaced last, it is the library.

A folder without one is no library, only rubbish of an ingest that was killed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from librarian.errors import LibraryDamaged
from librarian.values import FileError, LibrarySummary, Report, Skipped

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class DataFile:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """version: the folder of the data files. fingerprint: of all that decides what is made of a file (reuse.py).
    dim, windows: of the vectors."""

    library_id: str
    name: str
    source_url: str
    branch: str
    commit: str
    created_at: str
    updated_at: str
    embedder: str
    dim: int
    fingerprint: str
    version: str
    data: dict[str, DataFile]
    total_files: int
    total_chunks: int
    windows: int
    report: Report

    def summary(self, damage: str | None = None) -> LibrarySummary:
        return LibrarySummary(
            self.library_id,
            self.name,
            self.source_url,
            self.branch,
            self.commit,
            self.created_at,
            self.updated_at,
            self.total_files,
            self.total_chunks,
            damage,
        )


def encode_manifest(manifest: Manifest) -> bytes:
    body = asdict(manifest)
    return json.dumps({"format": FORMAT, "sha256": _digest(body), "library": body}, indent=1).encode()


def decode_manifest(library_id: str, data: bytes) -> Manifest:
    """
    Raises:
        LibraryDamaged
    """
    try:
        outer = json.loads(data)
        version, body = outer["format"], outer["library"]
        intact = outer["sha256"] == _digest(body)
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryDamaged(library_id, f"{MANIFEST} cannot be read ({type(error).__name__})") from error
    if version != FORMAT:
        raise LibraryDamaged(library_id, f"its format is {version!r}, this version of organism reads {FORMAT}")
    if not intact:
        raise LibraryDamaged(library_id, f"the checksum of {MANIFEST} is wrong")
    try:
        manifest = _from_body(body)
    except (KeyError, TypeError) as error:
        raise LibraryDamaged(library_id, f"{MANIFEST} lacks fields ({error})") from error
    if manifest.library_id != library_id:
        raise LibraryDamaged(library_id, f"{MANIFEST} is of {manifest.library_id!r}")
    return manifest


def check_sizes(manifest: Manifest, sizes: Mapping[str, int]) -> str | None:
    """What is wrong, None where nothing is."""
    for name, file in manifest.data.items():
        if name not in sizes:
            return f"{name} is missing"
        if sizes[name] != file.size:
            return f"{name} has {sizes[name]} bytes instead of {file.size}"
    return None


def unreadable(library_id: str, problem: str) -> LibrarySummary:
    """Of a library whose manifest says nothing."""
    return LibrarySummary(library_id, library_id, "", "", "", "", "", 0, 0, problem)


def _from_body(body: Mapping[str, Any]) -> Manifest:
    report = dict(body["report"])
    report["skipped"] = [Skipped(**each) for each in report["skipped"]]
    report["errors"] = [FileError(**each) for each in report["errors"]]
    data = {name: DataFile(**each) for name, each in body["data"].items()}
    return Manifest(**{**body, "report": Report(**report), "data": data})


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
