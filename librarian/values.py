"""What a librarian answers, as the API shows it: field names and order are those of its JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from librarian.chunks import ChunkType, Language

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Phase = Literal["waiting", "fetching", "chunking", "writing", "publishing", "done"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not in the library. reason: one of a few words, see screening.py and git_source.py."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileError:
    """A file that is in the library as plain text, or not at all, because something failed."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class LibrarySummary:
    """damage: why it cannot be used, None where it can."""

    library_id: str
    name: str
    source_url: str
    branch: str
    commit: str
    created_at: str
    updated_at: str
    total_files: int
    total_chunks: int
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the repository's files. Lists hold the first 1,000, counts all."""

    skipped: list[Skipped]
    skipped_count: int
    skipped_by_reason: dict[str, int]
    errors: list[FileError]
    error_count: int
    secrets_masked: int


@dataclass(frozen=True, slots=True)
class SymbolView:
    name: str
    qualified_name: str
    kind: str
    file_path: str
    start_line: int
    end_line: int
    chunk_id: str
    declaration: bool = False


@dataclass(frozen=True, slots=True)
class LibraryView:
    """functions, classes: name → the one file that it most likely means; `symbols` has all namesakes as
    name → files."""

    library_id: str
    name: str
    source_url: str
    branch: str
    commit: str
    created_at: str
    updated_at: str
    embedder: str
    files: list[str]
    functions: dict[str, str]
    classes: dict[str, str]
    symbols: dict[str, list[str]]
    stats: dict[str, int]
    report: Report


@dataclass(frozen=True, slots=True)
class IngestResult:
    """files_processed: files in the library. reused_files: those of them whose chunks and vectors were there already.

    updated: False where nothing had changed since the last ingest.
    """

    library_id: str
    library_name: str
    files_processed: int
    chunks_created: int
    index_built: bool
    errors: list[FileError]
    branch: str
    commit: str
    updated: bool
    reused_files: int
    skipped_count: int
    secrets_masked: int
    took_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """An ingest, in any state. error: {code, message} of a failed one. seconds_left: an estimate, None while there
    is none. files_total: None until the repository is listed."""

    job_id: str
    status: JobStatus
    phase: Phase
    git_url: str
    branch: str | None
    library_name: str | None
    library_id: str | None
    files_done: int
    files_total: int | None
    chunks: int
    seconds_left: float | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    result: IngestResult | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """Empty lists filter nothing. paths: globs as in .gitignore without negation, `src/**/*.py`, or a folder."""

    paths: tuple[str, ...] = ()
    languages: tuple[Language, ...] = ()
    chunk_types: tuple[ChunkType, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A chunk that was found. relevance_score: 0..1, comparable between queries. explain: on demand, how the score
    came about."""

    chunk_id: str
    library_id: str
    file_path: str
    name: str
    qualified_name: str
    chunk_type: ChunkType
    language: Language
    start_line: int
    end_line: int
    relevance_score: float
    snippet: str
    commit: str
    blob_id: str
    explain: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """chunks_examined: how many were scored in the last, exact stage. left_out: of all libraries, those that could not
    be searched, and why."""

    sources: list[Source]
    took_ms: float
    chunks_examined: int
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """model: None for an extractive answer. tokens_used: 0 then. found: whether the evidence was good enough to
    answer from; `answer` says so where it was not."""

    answer: str
    sources: list[Source]
    tokens_used: int
    chunks_examined: int
    model: str | None
    found: bool


@dataclass(frozen=True, slots=True)
class ChunkView:
    chunk_id: str
    library_id: str
    file_path: str
    name: str
    qualified_name: str
    chunk_type: ChunkType
    language: Language
    start_line: int
    end_line: int
    content: str
    docstring: str
    signature: str
    commit: str
    blob_id: str


@dataclass(frozen=True, slots=True)
class FileView:
    """content: the file as ingested, secrets masked. chunks: in the order of the file, without their content."""

    library_id: str
    file_path: str
    language: Language
    blob_id: str
    commit: str
    lines: int
    content: str
    chunks: list[Source] = field(default_factory=list)
