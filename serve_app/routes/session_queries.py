"""What a session is asked to do, and made to stop: query, abort, summary."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.sessions.ref import SessionsRef
from organism.sessions.wire import Answered, Query
from serve_app import session_models as shown
from serve_app.auth import GuardedRoute, needs
from serve_app.dependencies import ReplicaDep, SessionsDep
from serve_app.request_timeout import lift_timeout
from serve_app.responses import Json, json_of
from serve_app.session_blocks import run_blocks
from serve_app.session_models import STREAM, body_of, session_failures
from serve_app.session_requests import Ask, OfSession, Summarize, request_of, session_id_of
from serve_app.spending import spending
from serve_app.sse import Blocks, EventStream

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=GuardedRoute)

NOTHING_RUNS = "Nothing is running in this session."


@router.post(
    "/query",
    summary="Ask, and wait for the answer",
    description="Takes as long as the run does. The run goes on when the client leaves.",
    response_model=shown.Answer,
    responses=session_failures(404, 409, 429, 502),
    openapi_extra=body_of(Ask),
)
@needs(Role.OPERATOR, bound="handled")
async def query(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    ask = await request_of(Ask, request, replica, "sessionId")
    lift_timeout(request.scope)
    return Json(answer_json(await sessions.ask(ask.session_id, Query(ask.query))))


def answer_json(answered: Answered, **more: str) -> bytes:
    """An aborted run is answered as far as it came. Raises what ended the run otherwise."""
    if answered.error is not None:
        raise answered.error
    event = None if answered.event is None else orjson.Fragment(answered.event)
    return orjson.dumps({**more, "result": answered.result, "event": event})


@router.post(
    "/query/stream",
    summary="Ask, and follow what happens",
    description="The last event is always agent_run_end. The run goes on when the client leaves; "
    "GET /events/stream with Last-Event-ID takes it up again.",
    response_class=Response,
    responses={200: STREAM, **session_failures(404, 409, 429)},
    openapi_extra=body_of(Ask),
)
@needs(Role.OPERATOR, bound="handled")
async def stream_query(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    ask = await request_of(Ask, request, replica, "sessionId")
    return EventStream(run_of(sessions, ask.session_id, Query(ask.query, stream=True)), replica)


def run_of(
    sessions: SessionsRef, session_id: str, query: Query, first: bytes = b""
) -> AbstractAsyncContextManager[Blocks]:
    """A run as blocks of an event stream, behind `first`; it is started by entering."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Blocks]:
        async with (
            sessions.run(session_id, query) as batches,
            aclosing(run_blocks(session_id, batches, first)) as blocks,
        ):
            yield blocks

    return run()


@router.post(
    "/abort",
    summary="End what a session does",
    description="Answers when it has ended: the session can be asked again. What there is of the answer is kept.",
    response_model=shown.Aborted,
    responses=session_failures(404),
    openapi_extra=body_of(OfSession),
)
@needs(Role.OPERATOR, bound="handled")
async def abort(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(OfSession, request, replica, "sessionId")
    return await _abort(of.session_id, sessions)


@router.post(
    "/{session_id}/abort",
    summary="End what a session does",
    response_model=shown.Aborted,
    responses=session_failures(404),
)
@needs(Role.OPERATOR, bound="handled")
async def abort_by_path(session_id: str, sessions: SessionsDep) -> Response:
    return await _abort(session_id_of(session_id), sessions)


async def _abort(session_id: str, sessions: SessionsRef) -> Response:
    if await sessions.abort(session_id):
        return json_of({"success": True})
    return json_of({"success": False, "error": NOTHING_RUNS})


@router.post(
    "/generate-summary",
    summary="A title for a conversation",
    response_model=shown.SummaryOf,
    responses=session_failures(404, 429, 502),
    openapi_extra=body_of(Summarize),
)
@needs(Role.OPERATOR, bound="handled")
async def generate_summary(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(Summarize, request, replica, "sessionId")
    lift_timeout(request.scope)
    async with spending(request.scope):  # checks; what it costs is counted with the session's runs
        summary = await sessions.summarize(of.session_id, of.messages, of.model)
    return json_of(summary._asdict())
