"""A pack: some files of a repository that one worker reads, screens and analyzes at once.

The same functions run in this process and on Ray workers; how files are packed changes nothing in the result.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from librarian.analysis import AnalyzedFile, SourceFile, analyze
from librarian.config import EmbedderChoice, IngestLimits
from librarian.embedder.base import Embedder
from librarian.errors import EmbedderUnavailable
from librarian.git_source import read_blobs
from librarian.parts import Part, empty_part
from librarian.screening import skip_by_content
from librarian.secrets import mask_secrets
from librarian.tables import build_tables
from librarian.values import FileError, Skipped


class Entry(Protocol):
    """A file of a repository; git_source.BlobEntry is one."""

    @property
    def path(self) -> str: ...
    @property
    def blob_id(self) -> str: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Pack:
    """(path, blob_id) of each file."""

    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker needs besides the pack. repository: the bare repository's folder. environ: only the variables that
    the embedder is configured with."""

    repository: Path
    embedder: EmbedderChoice
    limits: IngestLimits
    environ: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class AnalyzedPack:
    """files: how many there were, also those that are not in `part`."""

    files: int
    part: Part
    skipped: list[Skipped]
    errors: list[FileError]


def plan_packs(entries: Sequence[Entry], count: int) -> list[Pack]:
    """At most `count` packs of about equal bytes: the largest files first, each to the pack that has least."""
    packs: list[list[tuple[str, str]]] = [[] for _ in range(min(count, len(entries)))]
    heap = [(0, number) for number in range(len(packs))]
    for entry in sorted(entries, key=lambda each: (-each.size, each.path)):
        used, number = heap[0]
        packs[number].append((entry.path, entry.blob_id))
        heapq.heapreplace(heap, (used + entry.size + 200, number))  # an empty file costs something, too
    return [Pack(tuple(files)) for files in packs]


def analyze_pack(pack: Pack, work: Work, embedder: Embedder) -> AnalyzedPack:
    """
    Raises:
        EmbedderUnavailable
        SourceUnavailable: the repository's folder vanished.
    """
    sources, skipped = _read(pack, work)
    files, errors = _analyze_all(sources, embedder, work.limits.parse_timeout_s)
    part = Part(*build_tables(files)) if files else empty_part(embedder.dim)
    return AnalyzedPack(len(pack.files), part, skipped, errors)


def _read(pack: Pack, work: Work) -> tuple[list[SourceFile], list[Skipped]]:
    paths: dict[str, list[str]] = {}
    for path, blob_id in pack.files:
        paths.setdefault(blob_id, []).append(path)
    sources: list[SourceFile] = []
    skipped: list[Skipped] = []
    for blob_id, data in read_blobs(work.repository, list(paths)):
        for path in paths[blob_id]:
            reason = skip_by_content(path, data, work.limits)
            if reason is None:
                sources.append(SourceFile(path, blob_id, *mask_secrets(path, data)))
            else:
                skipped.append(Skipped(path, reason))
    return sources, skipped


def _analyze_all(
    sources: Sequence[SourceFile], embedder: Embedder, parse_timeout_s: float
) -> tuple[list[AnalyzedFile], list[FileError]]:
    """All at once, which is fastest; where that fails one by one, so that a broken file harms no other."""
    if not sources:
        return [], []
    try:
        return analyze(sources, embedder, parse_timeout_s), []
    except EmbedderUnavailable:
        raise
    except Exception as error:
        if len(sources) == 1:
            return [], [FileError(sources[0].path, f"{type(error).__name__}: {error}")]
    halves = [_analyze_all(half, embedder, parse_timeout_s) for half in _halves(sources)]
    return [file for files, _ in halves for file in files], [error for _, errors in halves for error in errors]


def _halves(sources: Sequence[SourceFile]) -> Iterable[Sequence[SourceFile]]:
    middle = len(sources) // 2
    return sources[:middle], sources[middle:]
