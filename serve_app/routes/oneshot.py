"""A new session and its first query in one request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.errors import Overloaded, Refused
from organism.messages import now_ms
from organism.sessions.records import SessionView
from organism.sessions.ref import SessionsRef
from organism.sessions.wire import Query
from serve_app import session_models as shown
from serve_app.auth import GuardedRoute, audit_target, needs, principal_of
from serve_app.dependencies import ReplicaDep, SessionsDep
from serve_app.owned_sessions import owner_of
from serve_app.request_timeout import lift_timeout
from serve_app.responses import Json
from serve_app.routes.session_queries import answer_json, run_of
from serve_app.session_models import STREAM, body_of, session_failures
from serve_app.session_requests import Oneshot, request_of
from serve_app.sse import Blocks, EventStream, block_of

router = APIRouter(prefix="/oneshot", tags=["sessions"], route_class=GuardedRoute)


@router.post(
    "/query",
    summary="Create a session, ask it, and wait for the answer",
    response_model=shown.OneshotAnswer,
    responses=session_failures(409, 429, 502),
    openapi_extra=body_of(Oneshot),
)
@needs(Role.OPERATOR, audit="session.create", bound="handled")
async def query(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    oneshot = await request_of(Oneshot, request, replica)
    lift_timeout(request.scope)
    session = await _created(request, sessions, oneshot)
    async with _kept_if_begun(sessions, session.id):
        answered = await sessions.ask(session.id, Query(oneshot.query))
    return Json(answer_json(answered, sessionId=session.id))


@router.post(
    "/query/stream",
    summary="Create a session, ask it, and follow what happens",
    description="The first line is {type: session_created, sessionId, timestamp}.",
    response_class=Response,
    responses={200: STREAM, **session_failures(409, 429)},
    openapi_extra=body_of(Oneshot),
)
@needs(Role.OPERATOR, audit="session.create", bound="handled")
async def stream_query(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    oneshot = await request_of(Oneshot, request, replica)
    return EventStream(_run(request, sessions, oneshot), replica)


async def _created(request: Request, sessions: SessionsRef, oneshot: Oneshot) -> SessionView:
    session = await sessions.create(oneshot.new_session(), owner_of(principal_of(request.scope)))
    audit_target(request.scope, session.id)
    return session


@asynccontextmanager
async def _run(request: Request, sessions: SessionsRef, oneshot: Oneshot) -> AsyncIterator[Blocks]:
    session = await _created(request, sessions, oneshot)
    created = block_of({"type": "session_created", "sessionId": session.id, "timestamp": now_ms()})
    async with AsyncExitStack() as stack:
        async with _kept_if_begun(sessions, session.id):
            run = run_of(sessions, session.id, Query(oneshot.query, stream=True), created)
            blocks = await stack.enter_async_context(run)
        yield blocks


@asynccontextmanager
async def _kept_if_begun(sessions: SessionsRef, session_id: str) -> AsyncIterator[None]:
    """Nobody knows of the session when its query is refused."""
    try:
        yield
    except (Refused, Overloaded):
        await sessions.delete(session_id)
        raise
