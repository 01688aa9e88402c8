"""What has happened in a session, and what happens now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import APIRouter, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.sessions.ref import SessionsRef
from serve_app import session_models as shown
from serve_app.auth import GuardedRoute, needs
from serve_app.dependencies import ReplicaDep, SessionsDep
from serve_app.errors import InvalidRequest
from serve_app.queries import MAX_POSITION, documented
from serve_app.responses import Json
from serve_app.session_blocks import watched_blocks
from serve_app.session_models import STREAM, body_of, session_failures
from serve_app.session_requests import EventsOf, StreamOf, request_of
from serve_app.sse import Blocks, EventStream

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=GuardedRoute)

PAGE = 1000
"""Events read from the storage at once."""

LAST_EVENT_ID = "last-event-id"
LAST_EVENT_ID_DOCUMENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "as `after`, and goes before it: sent by an EventSource that connects again",
    "schema": {"type": "string", "pattern": r"^\d{1,15}$"},
}


@router.get(
    "/events",
    summary="Stored events",
    response_model=shown.Events,
    response_model_exclude_none=True,
    responses=session_failures(404),
    openapi_extra={"parameters": documented(EventsOf)},
)
@router.post(
    "/events",
    summary="Stored events",
    response_model=shown.Events,
    response_model_exclude_none=True,
    responses=session_failures(404),
    openapi_extra=body_of(EventsOf),
)
@needs(Role.OPERATOR, bound="handled")
async def list_events(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(EventsOf, request, replica, "sessionId", "after", "limit")
    bodies = await _bodies(sessions, of)
    return Json(b'{"events":[%b]}' % b",".join(bodies))


async def _bodies(sessions: SessionsRef, of: EventsOf) -> list[bytes]:
    """Page by page, so that the pump is not kept from other work by one long session."""
    bodies: list[bytes] = []
    after_seq = of.after
    while True:
        wanted = PAGE if of.limit is None else min(PAGE, of.limit - len(bodies))
        frames = await sessions.events(of.session_id, after_seq, wanted)
        bodies += (frame.body for frame in frames)
        if len(frames) < wanted or len(bodies) == of.limit:
            return bodies
        after_seq = frames[-1].seq or after_seq


@router.get(
    "/events/stream",
    summary="Follow a session",
    description="Replays what is stored behind Last-Event-ID or `after`, then sends what happens, also in runs that "
    "others have started. Without them only what happens from now on.",
    response_class=Response,
    responses={200: STREAM, **session_failures(404, 429)},
    openapi_extra={"parameters": [*documented(StreamOf), LAST_EVENT_ID_DOCUMENT]},
)
@needs(Role.OPERATOR, bound="handled")
async def stream_events(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(StreamOf, request, replica, "sessionId", "after")
    after_seq = _last_event_id(request)

    @asynccontextmanager
    async def watch() -> AsyncIterator[Blocks]:
        async with (
            sessions.watch(of.session_id, of.after if after_seq is None else after_seq) as items,
            aclosing(watched_blocks(of.session_id, items)) as blocks,
        ):
            yield blocks

    return EventStream(watch(), replica)


def _last_event_id(request: Request) -> int | None:
    """Raises: InvalidRequest."""
    text = request.headers.get(LAST_EVENT_ID, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 16 or int(text) > MAX_POSITION:
        raise InvalidRequest((("Last-Event-ID", f"must be a seq from 0 to {MAX_POSITION}"),))
    return int(text)
