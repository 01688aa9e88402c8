"""The librarian as API replicas hold it: searches go to Serve's replicas, ingests to the actor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from librarian.errors import IngestInterrupted, LibrarianError, LibrarianUnreachable
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
from organism.ray_actors.library_search import search_application
from organism.ray_actors.reasons import reason_of
from serve_app.librarian_actor import start_ingest
from serve_app.librarian_settings import LibrarianSettings

READ_TIMEOUT_S = 20.0
"""How long a read waits for a replica that is being replaced, and for its answer."""


class RayLibrarian:
    """Implements LibrarianRef. Made before either side runs: it finds them when they are asked for."""

    def __init__(self, namespace: str, settings: LibrarianSettings) -> None:
        self._namespace = namespace
        self._settings = settings
        self._search: DeploymentHandle[Any] | None = None
        self._ingest: Any = None

    # LibraryReader

    async def libraries(self) -> list[LibrarySummary]:
        return await self._read("libraries")

    async def library(self, library_id: str) -> LibraryView:
        return await self._read("library", library_id)

    async def search(
        self, library_ids: tuple[str, ...], query: str, max_chunks: int, filters: Filters, explain: bool
    ) -> Found:
        return await self._read("search", library_ids, query, max_chunks, filters, explain)

    async def query(self, library_id: str, question: str, max_chunks: int, model: str | None) -> Answer:
        handle = await self._search_handle()
        with _search_errors():
            return _raised(await handle.ask.remote("query", library_id, question, max_chunks, model))

    async def stream_query(
        self, library_id: str, question: str, max_chunks: int, model: str | None
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        handle = await self._search_handle()
        response: Any = handle.options(stream=True).stream.remote(library_id, question, max_chunks, model)
        try:
            with _search_errors():
                async for event in response:
                    yield _raised(event)
        finally:
            response.cancel()  # the client may have left; what has ended is not harmed

    async def chunk(self, library_id: str, chunk_id: str) -> ChunkView:
        return await self._read("chunk", library_id, chunk_id)

    async def file(self, library_id: str, path: str) -> FileView:
        return await self._read("file", library_id, path)

    async def symbols(self, library_id: str, q: str, limit: int) -> list[SymbolView]:
        return await self._read("symbols", library_id, q, limit)

    # LibraryIngester

    async def ingest(self, git_url: str, branch: str | None, library_name: str | None) -> IngestResult:
        actor = await self._started()
        try:
            return _raised(await actor.ask.remote("ingest", git_url, branch, library_name))
        except RayActorError as error:
            raise IngestInterrupted(reason_of(error)) from error

    async def start_ingest(self, git_url: str, branch: str | None, library_name: str | None) -> Job:
        return await self._change("start_ingest", git_url, branch, library_name)

    async def jobs(self) -> list[Job]:
        return await self._change("jobs")

    async def job(self, job_id: str) -> Job:
        return await self._change("job", job_id)

    async def cancel(self, job_id: str) -> Job:
        return await self._change("cancel", job_id)

    async def delete(self, library_id: str) -> None:
        await self._change("delete", library_id)

    # Ways there

    async def _read(self, method: str, *arguments: Any) -> Any:
        """Asked once more when the replica dies meanwhile: Serve has another one by then, or will have."""
        try:
            return await self._read_once(method, *arguments)
        except LibrarianUnreachable:
            return await self._read_once(method, *arguments)

    async def _read_once(self, method: str, *arguments: Any) -> Any:
        handle = await self._search_handle()
        with _search_errors():
            async with asyncio.timeout(READ_TIMEOUT_S):
                return _raised(await handle.ask.remote(method, *arguments))

    async def _search_handle(self) -> DeploymentHandle[Any]:
        if self._search is None:
            with _search_errors():
                self._search = await asyncio.to_thread(serve.get_app_handle, search_application(self._namespace))
        return self._search

    async def _started(self) -> Any:
        if self._ingest is None:
            self._ingest = await asyncio.to_thread(start_ingest, self._namespace, self._settings)
        return self._ingest

    async def _change(self, method: str, *arguments: Any) -> Any:
        actor = await self._started()
        try:
            return _raised(await actor.ask.remote(method, *arguments))
        except RayActorError as error:
            raise LibrarianUnreachable(f"its process ended, and is started again: {reason_of(error)}") from error


def _raised(answer: Any) -> Any:
    if isinstance(answer, LibrarianError):
        raise answer
    return answer


@contextmanager
def _search_errors() -> Iterator[None]:
    try:
        yield
    except RayTaskError:
        raise  # a bug there, which is one here
    except RayError as error:
        raise LibrarianUnreachable(reason_of(error)) from error
    except RayServeException as error:
        raise LibrarianUnreachable("its search is being started, or the log of `organism up` says why not") from error
    except TimeoutError as error:
        raise LibrarianUnreachable(f"no answer within {READ_TIMEOUT_S:g} s") from error
