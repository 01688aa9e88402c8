"""A librarian in memory: libraries of whole files, a search that counts words, ingests that a test holds up."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from librarian.errors import (
    ChunkNotFound,
    FileNotInLibrary,
    IngestCancelled,
    JobNotFound,
    LibrarianError,
    LibraryNotFound,
    SourceUnavailable,
    UnknownModel,
)
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
    Report,
    Source,
    SymbolView,
)

NOW = "2024-01-15T10:00:00.000Z"
COMMIT = "4c9fb5c1d1b7a2f0a4b3c8d2e1f0a9b8c7d6e5f4"
REPOSITORY = {
    "src/greet.py": 'def greet(name):\n    """Says hello."""\n    return f"hello {name}"\n',
    "src/odd: name.py": "def odd():\n    return 1\n",
    "README.md": "# Greeter\n\nIt says hello.\n",
}


class FakeLibrarian:
    """Implements LibrarianRef.

    repositories: files by path, by git URL. gate: while not set, ingests and streamed answers wait. trouble: what every
    call raises. writing: streamed answers under way. breaks_off: what they raise after their first delta.
    libraries_by_id: summary and files of each.
    """

    def __init__(self, *, models: tuple[str, ...] = ("small",)) -> None:
        self.repositories = {"https://example.org/greeter.git": dict(REPOSITORY)}
        self.models = models
        self.gate = asyncio.Event()
        self.gate.set()
        self.trouble: LibrarianError | None = None
        self.breaks_off: LibrarianError | None = None
        self.libraries_by_id: dict[str, tuple[LibrarySummary, dict[str, str]]] = {}
        self.writing = 0
        self.searches: list[tuple[tuple[str, ...], str, int, Filters, bool]] = []
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, asyncio.Task[IngestResult]] = {}

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    # LibraryReader

    async def libraries(self) -> list[LibrarySummary]:
        self._check()
        return sorted((each for each, _ in self.libraries_by_id.values()), key=lambda each: each.name)

    async def library(self, library_id: str) -> LibraryView:
        summary, files = self._library(library_id)
        symbols = await self.symbols(library_id, "", 1000)
        return LibraryView(
            library_id,
            summary.name,
            summary.source_url,
            summary.branch,
            summary.commit,
            NOW,
            NOW,
            "fake",
            sorted(files),
            {each.name: each.file_path for each in symbols},
            {},
            {each.name: [each.file_path] for each in symbols},
            {"chunks": len(files), "files": len(files), "functions": len(symbols), "classes": 0},
            Report([], 0, {}, [], 0, 0),
        )

    async def search(
        self, library_ids: tuple[str, ...], query: str, max_chunks: int, filters: Filters, explain: bool
    ) -> Found:
        self._check()
        self.searches.append((library_ids, query, max_chunks, filters, explain))
        sources = [
            self._source(library_id, path, text, query, explain)
            for library_id in library_ids or tuple(self.libraries_by_id)
            for path, text in self._library(library_id)[1].items()
            if not filters.paths or any(PurePosixPath(path).match(each) for each in filters.paths)
        ]
        best = sorted((each for each in sources if each.relevance_score), key=lambda each: -each.relevance_score)
        return Found(best[:max_chunks], 0.1, len(sources))

    async def query(self, library_id: str, question: str, max_chunks: int, model: str | None) -> Answer:
        if model is not None and model not in self.models:
            raise UnknownModel(model, self.models)
        found = await self.search((library_id,), question, max_chunks, Filters(), False)
        if not found.sources:
            return Answer("Nothing was found.", [], 0, found.chunks_examined, model, False)
        return Answer(f"{found.sources[0].snippet} [1]", found.sources, 7, found.chunks_examined, model, True)

    async def stream_query(
        self, library_id: str, question: str, max_chunks: int, model: str | None
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        answer = await self.query(library_id, question, max_chunks, model)
        self.writing += 1
        try:
            yield "sources", {"sources": answer.sources, "chunks_examined": answer.chunks_examined}
            for word in answer.answer.split(" "):
                await self.gate.wait()
                yield "delta", {"text": word}
                if self.breaks_off is not None:
                    raise self.breaks_off
        finally:
            self.writing -= 1
        yield "answer", {name: getattr(answer, name) for name in Answer.__dataclass_fields__}

    async def chunk(self, library_id: str, chunk_id: str) -> ChunkView:
        _, files = self._library(library_id)
        for path, text in files.items():
            if chunk_id == chunk_id_of(path, text):
                source = asdict(self._source(library_id, path, text, "", False))
                shared = {name: source[name] for name in source if name in ChunkView.__dataclass_fields__}
                return ChunkView(**shared, content=text, docstring="", signature="")
        raise ChunkNotFound(library_id, chunk_id)

    async def file(self, library_id: str, path: str) -> FileView:
        summary, files = self._library(library_id)
        if path not in files:
            raise FileNotInLibrary(library_id, path)
        text = files[path]
        chunks = [self._source(library_id, path, text, "", False)]
        return FileView(library_id, path, "python", "b", summary.commit, text.count("\n"), text, chunks)

    async def symbols(self, library_id: str, q: str, limit: int) -> list[SymbolView]:
        _, files = self._library(library_id)
        found = [
            SymbolView(name, name, "function", path, number, number, chunk_id_of(path, text))
            for path, text in files.items()
            for number, line in enumerate(text.splitlines(), 1)
            if line.startswith("def ") and q in (name := line[4:].partition("(")[0])
        ]
        return found[:limit]

    # LibraryIngester

    async def ingest(self, git_url: str, branch: str | None, library_name: str | None) -> IngestResult:
        job = await self.start_ingest(git_url, branch, library_name)
        return await asyncio.shield(self._running[job.job_id])

    async def start_ingest(self, git_url: str, branch: str | None, library_name: str | None) -> Job:
        self._check()
        job = Job(
            uuid4().hex, "running", "fetching", git_url, branch, library_name, None, 0, None, 0, None, NOW, NOW, None
        )
        self._jobs[job.job_id] = job
        task = self._running[job.job_id] = asyncio.create_task(self._ingest(job))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # the job tells it
        return job

    def _fetch(self, git_url: str) -> dict[str, str]:
        try:
            return dict(self.repositories[git_url])
        except KeyError:
            raise SourceUnavailable(git_url, "no such repository") from None

    async def _ingest(self, job: Job) -> IngestResult:
        began_s = time.monotonic()
        try:
            await self.gate.wait()
            files = self._fetch(job.git_url)
        except LibrarianError as error:
            self._end(job, "failed", error={"code": error.code, "message": str(error)})
            raise
        except asyncio.CancelledError:
            self._end(job, "cancelled")
            raise IngestCancelled(job.job_id) from None
        name = job.library_name or PurePosixPath(job.git_url).stem
        library_id = f"{name}-{hashlib.sha256(job.git_url.encode()).hexdigest()[:8]}"
        known = self.libraries_by_id.get(library_id)
        branch = job.branch or "main"
        summary = LibrarySummary(library_id, name, job.git_url, branch, COMMIT, NOW, NOW, len(files), len(files))
        self.libraries_by_id[library_id] = (summary, files)
        updated = known is None or known[1] != files
        took_s = time.monotonic() - began_s
        result = IngestResult(
            library_id, name, len(files), len(files), True, [], branch, COMMIT, updated, 0, 0, 0, took_s
        )
        self._end(job, "succeeded", result=result, library_id=library_id, files_done=len(files), phase="done")
        return result

    def _end(self, job: Job, status: str, **fields: Any) -> None:
        changes: dict[str, Any] = {"status": status, "finished_at": NOW, **fields}
        self._jobs[job.job_id] = replace(job, **changes)

    async def jobs(self) -> list[Job]:
        self._check()
        return list(reversed(self._jobs.values()))[:100]

    async def job(self, job_id: str) -> Job:
        self._check()
        if job_id not in self._jobs:
            raise JobNotFound(job_id)
        return self._jobs[job_id]

    async def cancel(self, job_id: str) -> Job:
        await self.job(job_id)
        task = self._running[job_id]
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        return self._jobs[job_id]

    async def delete(self, library_id: str) -> None:
        self._library(library_id)
        del self.libraries_by_id[library_id]

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _library(self, library_id: str) -> tuple[LibrarySummary, dict[str, str]]:
        self._check()
        if library_id not in self.libraries_by_id:
            raise LibraryNotFound(library_id)
        return self.libraries_by_id[library_id]

    def _source(self, library_id: str, path: str, text: str, query: str, explain: bool) -> Source:
        words = query.lower().split()
        score = sum(word in text.lower() for word in words) / max(1, len(words))
        name = PurePosixPath(path).stem
        return Source(
            chunk_id=chunk_id_of(path, text),
            library_id=library_id,
            file_path=path,
            name=name,
            qualified_name=name,
            chunk_type="module",
            language="python",
            start_line=1,
            end_line=text.count("\n"),
            relevance_score=score,
            snippet=text.partition("\n")[0],
            commit=COMMIT,
            blob_id="b",
            explain={"words": words} if explain else None,
        )


def chunk_id_of(path: str, text: str) -> str:
    return f"{path}:{PurePosixPath(path).stem}:{hashlib.sha256(text.encode()).hexdigest()[:8]}"
