"""The librarian of an organism, for asyncio: repositories ingested, searched and asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from organism.client.errors import (
    KIND_OF_CODE,
    ApiError,
    ClientError,
    ConnectionLost,
    IngestFailed,
    ModelFailed,
    UnexpectedAnswer,
)
from organism.client.http import Http
from organism.client.library_answers import (
    AnswerDelta,
    AnswerEvent,
    AnswerSources,
    CodeAnswer,
    CodeChunk,
    CodeFile,
    CodeSource,
    CodeSymbol,
    Found,
    IngestJob,
    IngestResult,
    LibraryDetails,
    LibrarySummary,
)
from organism.client.patience import Patience

T = TypeVar("T", bound=BaseModel)

_LIBRARIES = "librarian/libraries"
_PAGE = 1000  # libraries, the most that one list answers
_POLL_S = 0.2


class AsyncLibrarian:
    """Libraries of code; `client.librarian` of an AsyncClient.

    Every method raises ClientError: NotFound, LibraryUnusable and IngestFailed where they fit, as for sessions else.
    """

    def __init__(self, http: Http, *, query_timeout_s: float | None, reconnect_timeout_s: float | None) -> None:
        self._http = http
        self._query_timeout_s = query_timeout_s
        self._reconnect_timeout_s = reconnect_timeout_s

    async def ingest(self, git_url: str, *, branch: str | None = None, name: str | None = None) -> IngestResult:
        """Ingests a repository, or brings its library up to date; returns when it is done.

        It goes on when this is cancelled; to be able to end it, use `start_ingest`, `follow` and `cancel`.

        Raises:
            IngestFailed: the library is as it was.
        """
        return await self.finish(await self.start_ingest(git_url, branch=branch, name=name))

    async def start_ingest(self, git_url: str, *, branch: str | None = None, name: str | None = None) -> IngestJob:
        """Begins an ingest; one of the same URL and branch that is under way is joined."""
        body = {"git_url": git_url, "branch": branch, "library_name": name}
        return self._read(IngestJob, await self._http.ask(_LIBRARIES, body, wait="false"))

    async def finish(self, job: IngestJob) -> IngestResult:
        """Waits for the end of an ingest. Raises IngestFailed."""
        async with aclosing(self.follow(job.job_id)) as steps:
            async for step in steps:
                job = step
        return result_of(job)

    async def follow(self, job_id: str) -> AsyncGenerator[IngestJob]:
        """The ingest as it is now, whenever it got further; the last has ended. Lost connections are made again."""
        patience = Patience(self._reconnect_timeout_s)
        last: IngestJob | None = None
        while last is None or not last.has_ended:
            try:
                job = await self.job(job_id)
            except ClientError as error:
                await patience.wait(error)
                continue
            patience.restore()
            if job != last:
                last = job
                yield job
            if not job.has_ended:
                await asyncio.sleep(_POLL_S)

    async def job(self, job_id: str) -> IngestJob:
        return self._read(IngestJob, await self._http.get(f"librarian/jobs/{_quoted(job_id)}"))

    async def jobs(self, *, limit: int = 100, offset: int = 0) -> list[IngestJob]:
        """The newest first, as far as the server remembers them."""
        answer = await self._http.get("librarian/jobs", limit=limit, offset=offset)
        return self._list(IngestJob, answer, "jobs")

    async def cancel(self, job_id: str) -> IngestJob:
        """Ends an ingest and leaves the library as it was; one that has ended stays as it is."""
        return self._read(IngestJob, await self._http.delete(f"librarian/jobs/{_quoted(job_id)}"))

    async def libraries(self) -> list[LibrarySummary]:
        """All, by name."""
        found: list[LibrarySummary] = []
        while True:
            answer = await self._http.get(_LIBRARIES, limit=_PAGE, offset=len(found))
            page = self._list(LibrarySummary, answer, "libraries")
            found += page
            if len(page) < _PAGE:
                return found

    async def library(self, library_id: str) -> LibraryDetails:
        """What is in it, and what became of each file of the repository."""
        return self._read(LibraryDetails, await self._http.get(_path(library_id)))

    async def delete(self, library_id: str) -> None:
        """Removes the library and all its files; an ingest of it is cancelled."""
        await self._http.delete(_path(library_id))

    async def search(
        self,
        library_id: str | None,
        query: str,
        *,
        max_chunks: int = 10,
        paths: Sequence[str] = (),
        languages: Sequence[str] = (),
        chunk_types: Sequence[str] = (),
        explain: bool = False,
    ) -> Found:
        """The best chunks for plain words, or for the name of a symbol; in all libraries where none is given.

        paths: globs as in .gitignore, or folders.
        """
        filters = {"paths": list(paths), "languages": list(languages), "chunk_types": list(chunk_types)}
        body = {"query": query, "max_chunks": max_chunks, "filters": filters, "explain": explain}
        path = "librarian/search" if library_id is None else _path(library_id, "search")
        return self._read(Found, await self._http.ask(path, body))

    async def query(
        self, library_id: str, question: str, *, max_chunks: int = 20, model: str | None = None
    ) -> CodeAnswer:
        """An answer from what a search finds, with checked citations; extractive where there is no model."""
        body = {"question": question, "max_chunks": max_chunks, "model": model}
        path = _path(library_id, "query")
        return self._read(CodeAnswer, await self._http.post_and_wait(path, body, self._query_timeout_s))

    async def stream(
        self, library_id: str, question: str, *, max_chunks: int = 20, model: str | None = None
    ) -> AsyncGenerator[AnswerEvent]:
        """As `query`, followed as it is written: AnswerSources, any number of AnswerDelta, the CodeAnswer.

        Raises:
            ConnectionLost: it broke off; an answer is not stored, so ask again.
            ModelFailed: the model broke off, and why.
        """
        body = {"question": question, "max_chunks": max_chunks, "model": model}
        async with self._http.stream_documents(_path(library_id, "query", "stream"), body) as documents:
            async for document in documents:
                event = self._event(document)
                if event is not None:
                    yield event
                if isinstance(event, CodeAnswer):
                    return
        raise ConnectionLost(self._http.url, "the stream ended before the answer did")

    def _event(self, document: dict[str, Any]) -> AnswerEvent | None:
        """None for an event of a type that this version does not know."""
        match document.get("type"):
            case "sources":
                return self._read(AnswerSources, document)
            case "delta":
                return self._read(AnswerDelta, document)
            case "answer":
                fields = {name: value for name, value in document.items() if name != "type"}
                return self._read(CodeAnswer, fields)
            case "error":
                raise _told(document, ModelFailed, 502)
        return None

    async def chunk(self, library_id: str, chunk_id: str) -> CodeChunk:
        """One chunk with its whole content."""
        return self._read(CodeChunk, await self._http.get(_path(library_id, "chunks", chunk_id)))

    async def file(self, library_id: str, path: str) -> CodeFile:
        """A file as ingested, with its chunks."""
        return self._read(CodeFile, await self._http.get(_path(library_id, "files", path)))

    async def symbols(self, library_id: str, q: str, *, limit: int = 50) -> list[CodeSymbol]:
        """Definitions whose name or qualified name is, begins with or holds `q`, the best matches first."""
        answer = await self._http.get(_path(library_id, "symbols"), q=q, limit=limit)
        return self._list(CodeSymbol, answer, "symbols")

    def _read(self, kind: type[T], answer: Mapping[str, Any]) -> T:
        try:
            return kind.model_validate(answer)
        except ValidationError as error:
            raise UnexpectedAnswer(self._http.url, f"{kind.__name__}: {error.errors()[0]['msg']}") from error

    def _list(self, kind: type[T], answer: Mapping[str, Any], key: str) -> list[T]:
        return [self._read(kind, each) for each in answer.get(key, [])]


def result_of(job: IngestJob) -> IngestResult:
    """What an ended ingest made. Raises IngestFailed where it did not succeed."""
    if job.result is not None:
        return job.result
    if job.status == "cancelled":
        raise IngestFailed(200, "ingest_cancelled", f"job {job.job_id!r} was cancelled; the library is as it was")
    raise _told(job.error or {}, IngestFailed, 200)


def place_of(source: CodeSource | CodeChunk | CodeSymbol) -> str:
    """`path:first line-last line`, as editors and coding agents take it."""
    return f"{source.file_path}:{source.start_line}-{source.end_line}"


def cited(answer: CodeAnswer) -> list[tuple[int, CodeSource]]:
    """The sources that the text of the answer cites, with their numbers; none where nothing was found."""
    numbered = enumerate(answer.sources if answer.found else (), 1)
    return [(number, source) for number, source in numbered if f"[{number}]" in answer.answer]


def _told(error: Mapping[str, Any], otherwise: type[ApiError], status: int) -> ApiError:
    """A failure that an event or a job tells as {code, message}."""
    code = str(error.get("code", "failed"))
    kind = KIND_OF_CODE.get(code, otherwise)
    return kind(status, code, str(error.get("message", "it failed without a reason")), error.get("details"))


def _path(library_id: str, *parts: str) -> str:
    return "/".join((_LIBRARIES, *map(_quoted, (library_id, *parts))))


def _quoted(part: str) -> str:
    """Slashes, too, and dots that would be a step up: what a caller names must not lead out of where it stands."""
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="")
