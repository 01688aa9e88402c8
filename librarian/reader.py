"""Reads libraries: search, answers, chunks, files, symbols. Runs in the search replicas, and knows no ingest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Self, TypeVar

from librarian.answer import answer, stream_answer
from librarian.config import EmbedderChoice
from librarian.embedder.base import Embedder
from librarian.embedder.opening import open_embedder
from librarian.errors import (
    ChunkNotFound,
    EmbedderMismatch,
    FileNotInLibrary,
    LibrarianError,
    LibraryDamaged,
    LibraryNotFound,
    UnknownModel,
)
from librarian.evidence import Evidence
from librarian.folder.opening import open_folder
from librarian.index.faiss import FaissFile
from librarian.shelf import OpenedForReading, Shelf
from librarian.values import (
    Answer,
    ChunkView,
    FileView,
    Filters,
    Found,
    LibrarySummary,
    LibraryView,
    Source,
    SymbolView,
)
from librarian.writer import Writer

T = TypeVar("T")
SEARCH_THREADS = 2


class Reader:
    """A LibraryReader (ref.py). Libraries are opened when first asked for, and again when a new version is published.

        async with Reader(root="…", embedder=EmbedderChoice(), environ=os.environ) as reader:
            await reader.search(…)

    root: folder of the libraries, or URI of one on a pyarrow filesystem (s3://bucket/libraries). cache_folder: where
    copies of a remote root's files are kept; None: below the system's temporary folder. writer: the language
    model of answers, None: they are extractive. max_memory_bytes: of open
    libraries; the ones that were not asked for longest are closed beyond it.
    """

    def __init__(
        self,
        *,
        root: str,
        embedder: EmbedderChoice,
        environ: Mapping[str, str],
        writer: Writer | None = None,
        cache_folder: str | None = None,
        max_memory_bytes: int = 2_000_000_000,
    ) -> None:
        self._choice = embedder
        self._environ = environ
        self._writer = writer
        self._shelf = Shelf(open_folder(root, cache_folder), FaissFile(), max_memory_bytes)
        self._threads = ThreadPoolExecutor(SEARCH_THREADS, "librarian-reader")
        self._embedder: Embedder

    async def __aenter__(self) -> Self:
        self._embedder = await asyncio.to_thread(open_embedder, self._choice, self._environ)
        self._shelf.embedder = self._embedder
        return self

    async def __aexit__(self, *exception: object) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def libraries(self) -> list[LibrarySummary]:
        return await self._in_thread(self._shelf.summaries)

    async def library(self, library_id: str) -> LibraryView:
        return await self._in_thread(lambda: self._shelf.get(library_id).view())

    async def search(
        self, library_ids: tuple[str, ...], query: str, max_chunks: int, filters: Filters, explain: bool
    ) -> Found:
        return await self._in_thread(lambda: self._search(library_ids, query, max_chunks, filters, explain))

    async def query(self, library_id: str, question: str, max_chunks: int, model: str | None) -> Answer:
        self._check_model(model)
        evidence, examined = await self._evidence(library_id, question, max_chunks)
        return await answer(question, evidence, examined, self._writer, model)

    async def stream_query(
        self, library_id: str, question: str, max_chunks: int, model: str | None
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """See LibraryReader.stream_query. What is wrong before the first event is raised."""
        self._check_model(model)
        evidence, examined = await self._evidence(library_id, question, max_chunks)
        written = stream_answer(question, evidence, examined, self._writer, model)
        async with aclosing(written):
            first = await anext(written)  # what fails at once is raised
            yield "sources", {"sources": [asdict(each.source) for each in evidence], "chunks_examined": examined}
            yield _event(first)
            try:
                async for each in written:
                    yield _event(each)
            except LibrarianError as error:
                yield "error", {"code": error.code, "message": str(error)}

    async def chunk(self, library_id: str, chunk_id: str) -> ChunkView:
        found = await self._in_thread(lambda: self._shelf.get(library_id).views.chunk(chunk_id))
        if found is None:
            raise ChunkNotFound(library_id, chunk_id)
        return found

    async def file(self, library_id: str, path: str) -> FileView:
        found = await self._in_thread(lambda: self._shelf.get(library_id).views.file(path))
        if found is None:
            raise FileNotInLibrary(library_id, path)
        return found

    async def symbols(self, library_id: str, q: str, limit: int) -> list[SymbolView]:
        return await self._in_thread(lambda: self._shelf.get(library_id).symbols(q, limit))

    def _check_model(self, model: str | None) -> None:
        """Told also where the library has no answer for a model to write."""
        if self._writer is not None:
            self._writer.check(model)
        elif model is not None:
            raise UnknownModel(model, ())

    async def _evidence(self, library_id: str, question: str, max_chunks: int) -> tuple[list[Evidence], int]:
        return await self._in_thread(lambda: self._shelf.searchable(library_id).evidence(question, max_chunks))

    def _search(
        self, library_ids: Sequence[str], query: str, max_chunks: int, filters: Filters, explain: bool
    ) -> Found:
        started = time.perf_counter()
        sources: list[Source] = []
        examined = 0
        asked, left_out = self._asked(library_ids)
        for opened in asked:
            found, scored = opened.search(query, max_chunks, filters, explain)
            sources += found
            examined += scored
        if len(library_ids) != 1:
            sources.sort(key=lambda each: -each.relevance_score)  # stable: ties stay in the order of the libraries
        took_ms = (time.perf_counter() - started) * 1000
        return Found(sources[:max_chunks], round(took_ms, 3), examined, left_out)

    def _asked(self, library_ids: Sequence[str]) -> tuple[list[OpenedForReading], dict[str, str]]:
        """Those that are named must be usable; of all, those that are, and why others are not, unless none is."""
        if library_ids:
            return [self._shelf.searchable(each) for each in dict.fromkeys(library_ids)], {}
        usable: list[OpenedForReading] = []
        refused: dict[str, LibrarianError] = {}
        for summary in self._shelf.summaries():
            try:
                usable.append(self._shelf.searchable(summary.library_id))
            except LibraryNotFound:  # deleted meanwhile
                continue
            except (EmbedderMismatch, LibraryDamaged) as error:
                refused[summary.library_id] = error
        if refused and not usable:
            raise next(iter(refused.values()))
        return usable, {library_id: str(error) for library_id, error in refused.items()}

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _event(written: str | Answer) -> tuple[str, dict[str, Any]]:
    return ("delta", {"text": written}) if isinstance(written, str) else ("answer", asdict(written))
