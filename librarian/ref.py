"""The outside of a librarian: what the API, the command line and tests hold. serve_app wraps it for Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from librarian.values import (
    Answer,
    ChunkView,
    FileView,
    Filters,
    Found,
    IngestResult,
    Job,
    LibrarySummary,
    LibraryView,
    SymbolView,
)


class LibraryReader(Protocol):
    """Everything that reads libraries; never waits for an ingest. All raise LibrarianError."""

    async def libraries(self) -> list[LibrarySummary]:
        """All, by name and id; damaged ones say so in `damage`."""
        ...

    async def library(self, library_id: str) -> LibraryView: ...

    async def search(
        self, library_ids: tuple[str, ...], query: str, max_chunks: int, filters: Filters, explain: bool
    ) -> Found:
        """The best chunks of these libraries, of all where `library_ids` is empty."""
        ...

    async def query(self, library_id: str, question: str, max_chunks: int, model: str | None) -> Answer: ...

    def stream_query(
        self, library_id: str, question: str, max_chunks: int, model: str | None
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Events of an answer that is being written: ("sources", {sources, chunks_examined}), any number of
        ("delta", {text}), then ("answer", the fields of Answer) or ("error", {code, message})."""
        ...

    async def chunk(self, library_id: str, chunk_id: str) -> ChunkView: ...

    async def file(self, library_id: str, path: str) -> FileView: ...

    async def symbols(self, library_id: str, q: str, limit: int) -> list[SymbolView]:
        """Definitions whose name or qualified name is, begins with or holds `q`, the best matches first."""
        ...


class LibraryIngester(Protocol):
    """Everything that changes libraries."""

    async def ingest(self, git_url: str, branch: str | None, library_name: str | None) -> IngestResult:
        """Waits for the end. The same URL and branch a second time, while the first is under way, join it."""
        ...

    async def start_ingest(self, git_url: str, branch: str | None, library_name: str | None) -> Job:
        """Begins it and returns at once."""
        ...

    async def jobs(self) -> list[Job]:
        """The latest 100, newest first."""
        ...

    async def job(self, job_id: str) -> Job: ...

    async def cancel(self, job_id: str) -> Job:
        """Ends it and leaves the library as it was; one that has ended stays as it is."""
        ...

    async def delete(self, library_id: str) -> None:
        """Cancels its ingest, if there is one, and removes all its files."""
        ...


class LibrarianRef(LibraryReader, LibraryIngester, Protocol):
    """Both sides."""
