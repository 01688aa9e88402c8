"""What is read from libraries: searches, answers, chunks, files and symbols."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response
from starlette.types import Scope

from librarian.errors import LibrarianError, LibraryNotFound
from librarian.ref import LibraryReader
from librarian.values import Answer, ChunkView, FileView, Found
from organism.access.principal import Principal, Role
from serve_app.auth import GuardedRoute, needs, principal_of
from serve_app.dependencies import LibrarianDep, ReplicaDep
from serve_app.librarian_errors import describe_librarian
from serve_app.librarian_models import STREAM, SymbolList, answers, librarian_failures
from serve_app.librarian_requests import LibraryQuestion, LibrarySearch, SearchAcross, SymbolsQuery
from serve_app.queries import documented, no_parameters, validated
from serve_app.request_timeout import lift_timeout
from serve_app.responses import json_of
from serve_app.session_models import body_of
from serve_app.session_requests import request_of
from serve_app.spending import spending
from serve_app.sse import Blocks, EventStream, block_of

router = APIRouter(route_class=GuardedRoute, prefix="/librarian", tags=["librarian"])
without_parameters = [Depends(no_parameters)]

READ_FAILURES = librarian_failures(404, 409, 500)
ASK_FAILURES = librarian_failures(400, 404, 409, 413, 415, 500, 502)


@router.post(
    "/search",
    summary="Search several libraries, or all",
    responses={**answers(Found), **ASK_FAILURES},
    dependencies=without_parameters,
    openapi_extra=body_of(SearchAcross),
)
@needs(Role.VIEWER, bound="handled")
async def search_across(request: Request, replica: ReplicaDep, librarian: LibrarianDep) -> Response:
    wanted = await request_of(SearchAcross, request, replica)
    library_ids = await _reachable(tuple(dict.fromkeys(wanted.libraries)), principal_of(request.scope), librarian)
    if library_ids is None:
        return json_of(Found([], 0.0, 0, {}))
    return await _search(librarian, library_ids, wanted)


async def _reachable(asked: tuple[str, ...], principal: Principal, librarian: LibraryReader) -> tuple[str, ...] | None:
    """The libraries to search, none for all there are; None where a bound key reaches none.

    Raises:
        LibraryNotFound
    """
    for library_id in asked:
        if not principal.may_reach_library(library_id):
            raise LibraryNotFound(library_id)
    if asked or principal.bounds is None:
        return asked
    every = [each.library_id for each in await librarian.libraries()]
    return tuple(each for each in every if principal.may_reach_library(each)) or None


@router.post(
    "/libraries/{library_id}/search",
    summary="Search a library",
    description="The best chunks for words, or for the name of a symbol; `relevance_score` is from 0 to 1.",
    responses={**answers(Found), **ASK_FAILURES},
    dependencies=without_parameters,
    openapi_extra=body_of(LibrarySearch),
)
@needs(Role.VIEWER, bound="library")
async def search(library_id: str, request: Request, replica: ReplicaDep, librarian: LibrarianDep) -> Response:
    return await _search(librarian, (library_id,), await request_of(LibrarySearch, request, replica))


async def _search(librarian: LibraryReader, library_ids: tuple[str, ...], wanted: LibrarySearch) -> Response:
    filters = wanted.filters.to_filters()
    return json_of(await librarian.search(library_ids, wanted.query, wanted.max_chunks, filters, wanted.explain))


@router.post(
    "/libraries/{library_id}/query",
    summary="Ask a library",
    description="With a model, it writes the answer from what a search finds; otherwise the answer is made of the best "
    "sentences. [1], [2], … cite the sources in their order. `found` is false where the evidence is too weak.",
    responses={**answers(Answer), **ASK_FAILURES},
    dependencies=without_parameters,
    openapi_extra=body_of(LibraryQuestion),
)
@needs(Role.VIEWER, bound="library")
async def query(library_id: str, request: Request, replica: ReplicaDep, librarian: LibrarianDep) -> Response:
    asked = await request_of(LibraryQuestion, request, replica)
    lift_timeout(request.scope)
    async with spending(request.scope) as spent:
        answer = await librarian.query(library_id, asked.question, asked.max_chunks, asked.model)
        spent(answer.tokens_used)
    return json_of(answer)


@router.post(
    "/libraries/{library_id}/query/stream",
    summary="Ask a library, and follow the answer as it is written",
    response_class=Response,
    responses={200: STREAM, **ASK_FAILURES, **librarian_failures(429)},
    dependencies=without_parameters,
    openapi_extra=body_of(LibraryQuestion),
)
@needs(Role.VIEWER, bound="library")
async def stream_query(library_id: str, request: Request, replica: ReplicaDep, librarian: LibrarianDep) -> Response:
    asked = await request_of(LibraryQuestion, request, replica)
    lift_timeout(request.scope)  # the first event may wait for the model
    events = librarian.stream_query(library_id, asked.question, asked.max_chunks, asked.model)
    return EventStream(_blocks(events, request.scope), replica)


@asynccontextmanager
async def _blocks(events: AsyncIterator[tuple[str, dict[str, Any]]], scope: Scope) -> AsyncIterator[Blocks]:
    """Entered with the first event: until then a failure has a status."""
    async with spending(scope) as spent:
        first = await anext(events)

        async def blocks() -> Blocks:
            yield _block(*first)
            try:
                async for kind, fields in events:
                    spent(fields.get("tokens_used", 0))
                    yield _block(kind, fields)
            except LibrarianError as error:
                yield _block("error", describe_librarian(error))

        written = blocks()
        try:
            yield written
        finally:
            await written.aclose()
            if (close := getattr(events, "aclose", None)) is not None:
                await close()


def _block(kind: str, fields: dict[str, Any]) -> bytes:
    return block_of({"type": kind, **fields})


@router.get(
    "/libraries/{library_id}/chunks/{chunk_id:path}",
    summary="One chunk, with its whole content",
    description="`chunk_id` as in a source, with its slashes and colons, plain or percent-encoded.",
    responses={**answers(ChunkView), **READ_FAILURES},
    dependencies=without_parameters,
)
@needs(Role.VIEWER, bound="library")
async def get_chunk(library_id: str, chunk_id: str, librarian: LibrarianDep) -> Response:
    return json_of(await librarian.chunk(library_id, chunk_id))


@router.get(
    "/libraries/{library_id}/files/{path:path}",
    summary="One file as ingested, with its chunks",
    description="Secrets in it are masked.",
    responses={**answers(FileView), **READ_FAILURES},
    dependencies=without_parameters,
)
@needs(Role.VIEWER, bound="library")
async def get_file(library_id: str, path: str, librarian: LibrarianDep) -> Response:
    return json_of(await librarian.file(library_id, path))


@router.get(
    "/libraries/{library_id}/symbols",
    summary="Definitions by name",
    description="Those whose name or qualified name is, begins with or holds `q`.",
    responses={**answers(SymbolList), **READ_FAILURES},
    openapi_extra={"parameters": documented(SymbolsQuery)},
)
@needs(Role.VIEWER, bound="library")
async def list_symbols(library_id: str, request: Request, librarian: LibrarianDep) -> Response:
    wanted = validated(SymbolsQuery, request.query_params)
    found = await librarian.symbols(library_id, wanted.q, wanted.limit)
    return json_of({"symbols": found, "count": len(found)})
