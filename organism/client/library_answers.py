"""What the librarian's routes answer. A field that this version does not know is kept, and shown by `model_dump`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

ENDED = ("succeeded", "failed", "cancelled")
"""States of an ingest that do not change any more."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class LibrarySummary(_Answer):
    """damage: why the library cannot be used; None where it can."""

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


class FileProblem(_Answer):
    """A file that is in the library as plain text, or not at all."""

    path: str
    message: str


class SkippedFile(_Answer):
    path: str
    reason: str


class IngestReport(_Answer):
    """What became of the repository's files; lists hold the first ones, counts all."""

    skipped: list[SkippedFile]
    skipped_count: int
    skipped_by_reason: dict[str, int]
    errors: list[FileProblem]
    error_count: int
    secrets_masked: int


class LibraryDetails(_Answer):
    """functions, classes: name → the file that it most likely means. symbols: name → all files that define it."""

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
    report: IngestReport


class IngestResult(_Answer):
    """updated: False where nothing had changed since the last ingest. reused_files: those that had not."""

    library_id: str
    library_name: str
    files_processed: int
    chunks_created: int
    index_built: bool
    errors: list[FileProblem]
    branch: str
    commit: str
    updated: bool
    reused_files: int
    skipped_count: int
    secrets_masked: int
    took_s: float


class IngestJob(_Answer):
    """An ingest in any state. files_total: None until the repository is listed. error: {code, message} of a failed
    one. seconds_left: an estimate, None while there is none."""

    job_id: str
    status: str
    phase: str
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

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class CodeSource(_Answer):
    """A chunk that was found; lines are 1-based and inclusive, relevance_score is 0..1."""

    chunk_id: str
    library_id: str
    file_path: str
    name: str
    qualified_name: str
    chunk_type: str
    language: str
    start_line: int
    end_line: int
    relevance_score: float
    snippet: str
    commit: str
    blob_id: str
    explain: dict[str, Any] | None = None


class Found(_Answer):
    """The best first. took_ms: inside the server."""

    sources: list[CodeSource]
    took_ms: float
    chunks_examined: int


class CodeAnswer(_Answer):
    """[1], [2], … in `answer` cite `sources` in their order. model: None where no model wrote it. found: False where
    the evidence was too weak, which `answer` says then."""

    answer: str
    sources: list[CodeSource]
    tokens_used: int
    chunks_examined: int
    model: str | None
    found: bool


class CodeChunk(_Answer):
    chunk_id: str
    library_id: str
    file_path: str
    name: str
    qualified_name: str
    chunk_type: str
    language: str
    start_line: int
    end_line: int
    content: str
    docstring: str
    signature: str
    commit: str
    blob_id: str


class CodeFile(_Answer):
    """content: the file as ingested, secrets masked. lines: how many there are."""

    library_id: str
    file_path: str
    language: str
    blob_id: str
    commit: str
    lines: int
    content: str
    chunks: list[CodeSource]


class CodeSymbol(_Answer):
    """A definition. declaration: it only announces what is defined elsewhere."""

    name: str
    qualified_name: str
    kind: str
    file_path: str
    start_line: int
    end_line: int
    chunk_id: str
    declaration: bool = False


class AnswerSources(_Answer):
    """The first event of an answer that is written."""

    type: Literal["sources"] = "sources"
    sources: list[CodeSource]
    chunks_examined: int


class AnswerDelta(_Answer):
    """The next piece of the text."""

    type: Literal["delta"] = "delta"
    text: str


AnswerEvent = AnswerSources | AnswerDelta | CodeAnswer
"""What happens while an answer is written; the last is the CodeAnswer, whose citations were checked."""
