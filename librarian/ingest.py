"""From a repository's files to a published version of its library: plan → analyze → merge → write → publish."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from librarian.embedder.base import Embedder
from librarian.library import Library
from librarian.manifest import DataFile, Manifest
from librarian.packs import AnalyzedPack, Entry, Pack, Work, analyze_pack, plan_packs
from librarian.parts import Part, empty_part, merge_parts
from librarian.reuse import Reuse, held_files
from librarian.screening import skip_by_path
from librarian.values import FileError, Phase, Report, Skipped

REPORT_ENTRIES = 1_000
PACK_BYTES = 200_000
"""Of packs in this process: after each, progress is told and a cancel obeyed."""
LARGE_BYTES = 4_000_000
"""From here on workers are faster than this process, though they cost a second or two to set to work."""
LARGE_PACK_BYTES = 500_000
LARGE_PACKS = (8, 400)
"""At least and at most: enough for even work and steady progress, few enough that a pack's own cost does not show."""

AnalyzePacks = Callable[[Sequence[Pack], Work], Generator[AnalyzedPack]]
"""Analyzes packs in any order; closing the iterator ends the work."""


class Stopped(Exception):
    """The ingest was told to stop; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Progress:
    phase: Phase
    files_done: int
    files_total: int | None
    chunks: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Of the library that is being made."""

    library_id: str
    name: str
    source_url: str
    branch: str
    commit: str


@dataclass(frozen=True, slots=True)
class Ingested:
    manifest: Manifest
    reused_files: int


class Ingest:
    """One run. Its methods block; `stop` may be called from another thread."""

    def __init__(self, library: Library, work: Work, embedder: Embedder, tell: Callable[[Progress], None]) -> None:
        self._library = library
        self._work = work
        self._embedder = embedder
        self._tell = tell
        self._stopped = threading.Event()
        self._done = 0
        self._total = 0
        self._chunks = 0

    def stop(self) -> None:
        self._stopped.set()

    def run(
        self,
        entries: Sequence[Entry],
        skipped: Sequence[Skipped],
        identity: Identity,
        fingerprint: str,
        now: str,
        current: Manifest | None,
        reuse: Reuse,
        analyze_large: AnalyzePacks | None,
    ) -> Ingested:
        """
        Raises:
            Stopped
            EmbedderUnavailable
            SourceUnavailable
            LibraryStorageError
        """
        wanted, kept_out = screen(entries, self._work)
        self._total = len(wanted)
        self._advance("chunking", 0, 0)
        parts = reuse.take(wanted, fingerprint, identity.library_id)
        reused = held_files(parts)
        self._advance("chunking", len(reused), sum(part.tables.chunks.num_rows for part in parts))
        packs = self._analyze([each for each in wanted if (each.path, each.blob_id) not in reused], analyze_large)
        self._advance("writing", 0, 0)
        whole = merge_parts([*parts, *(pack.part for pack in packs), empty_part(self._embedder.dim)])
        report = make_report([*skipped, *kept_out, *(each for pack in packs for each in pack.skipped)], packs, whole)
        self._check_stop()

        def facts(version: str, data: dict[str, DataFile]) -> Manifest:
            self._check_stop()
            self._advance("publishing", 0, 0)
            return _manifest(identity, fingerprint, now, current, self._embedder, whole, report, version, data)

        return Ingested(self._library.write(whole, facts, current), len(reused))

    def _analyze(self, entries: Sequence[Entry], analyze_large: AnalyzePacks | None) -> list[AnalyzedPack]:
        size = sum(entry.size for entry in entries)
        if analyze_large is not None and size > LARGE_BYTES:
            fewest, most = LARGE_PACKS
            count = min(max(fewest, size // LARGE_PACK_BYTES), most)
            return self._collect(analyze_large(plan_packs(entries, count), self._work))
        return self._collect(self._analyze_here(plan_packs(entries, max(1, size // PACK_BYTES))))

    def _analyze_here(self, packs: Iterable[Pack]) -> Generator[AnalyzedPack]:
        for pack in packs:
            yield analyze_pack(pack, self._work, self._embedder)

    def _collect(self, analyzed: Generator[AnalyzedPack]) -> list[AnalyzedPack]:
        packs: list[AnalyzedPack] = []
        self._check_stop()
        with closing(analyzed):
            for pack in analyzed:
                packs.append(pack)
                self._advance("chunking", pack.files, pack.part.tables.chunks.num_rows)
                self._check_stop()
        return packs

    def _advance(self, phase: Phase, files: int, chunks: int) -> None:
        self._done += files
        self._chunks += chunks
        self._tell(Progress(phase, self._done, self._total, self._chunks))

    def _check_stop(self) -> None:
        if self._stopped.is_set():
            raise Stopped


def screen(entries: Sequence[Entry], work: Work) -> tuple[list[Entry], list[Skipped]]:
    """By path and size: those to read, and those to leave out."""
    wanted: list[Entry] = []
    skipped: list[Skipped] = []
    for entry in entries:
        reason = skip_by_path(entry.path, entry.size, work.limits)
        if reason is None:
            wanted.append(entry)
        else:
            skipped.append(Skipped(entry.path, reason))
    return wanted, skipped


def make_report(skipped: Sequence[Skipped], packs: Sequence[AnalyzedPack], whole: Part) -> Report:
    """The same however the files were packed. What became plain text is an error that the file's row tells."""
    files = whole.tables.files.select(["path", "problem", "masked"]).to_pydict()
    errors = [
        FileError(path, problem) for path, problem in zip(files["path"], files["problem"], strict=True) if problem
    ]
    errors += [error for pack in packs for error in pack.errors]
    return Report(
        skipped=sorted(skipped, key=lambda each: (each.path, each.reason))[:REPORT_ENTRIES],
        skipped_count=len(skipped),
        skipped_by_reason=dict(sorted(Counter(each.reason for each in skipped).items())),
        errors=sorted(errors, key=lambda each: (each.path, each.message))[:REPORT_ENTRIES],
        error_count=len(errors),
        secrets_masked=sum(files["masked"]),
    )


def embedder_environ(variable: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Only what the embedder's endpoint needs leaves this process."""
    return {variable: environ[variable]} if variable is not None and variable in environ else {}


def _manifest(
    identity: Identity,
    fingerprint: str,
    now: str,
    current: Manifest | None,
    embedder: Embedder,
    whole: Part,
    report: Report,
    version: str,
    data: dict[str, DataFile],
) -> Manifest:
    return Manifest(
        library_id=identity.library_id,
        name=identity.name,
        source_url=identity.source_url,
        branch=identity.branch,
        commit=identity.commit,
        created_at=now if current is None else current.created_at,
        updated_at=now,
        embedder=embedder.name,
        dim=embedder.dim,
        fingerprint=fingerprint,
        version=version,
        data=data,
        total_files=whole.tables.files.num_rows,
        total_chunks=whole.tables.chunks.num_rows,
        windows=whole.tables.windows.num_rows,
        report=report,
    )
