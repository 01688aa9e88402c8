"""Sessions as things: created, listed, changed, deleted, brought back. All but what they do."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.llm.base import ModelNotFound
from organism.sessions.records import ModelChoice, NewSession, SessionChanges, SessionView
from organism.sessions.wire import SessionSettings
from serve_app import session_models as shown
from serve_app.auth import GuardedRoute, audit_target, needs, principal_of
from serve_app.dependencies import ReplicaDep, SessionsDep
from serve_app.owned_sessions import owner_of
from serve_app.queries import documented, query_of
from serve_app.responses import Json, json_of
from serve_app.session_models import body_of, session_failures
from serve_app.session_requests import ChooseModel, ListSessions, OfSession, Update, request_of

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=GuardedRoute)

OF_SESSION = {"parameters": documented(OfSession)}


def json_of_session(view: SessionView) -> orjson.Fragment:
    return orjson.Fragment(view.__pydantic_serializer__.to_json(view, by_alias=True, exclude_none=True))


@router.post(
    "/create",
    summary="A new session",
    description="Nothing else than these fields has an effect; prompt, tools and limits are those of the agent.",
    status_code=201,
    response_model=shown.Created,
    responses=session_failures(429),
    openapi_extra=body_of(NewSession, required=False),
)
@needs(Role.OPERATOR, audit="session.create", bound="handled")
async def create(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    new = await request_of(NewSession, request, replica)
    session = await sessions.create(new, owner_of(principal_of(request.scope)))
    audit_target(request.scope, session.id)
    body = orjson.dumps({"sessionId": session.id, "session": json_of_session(session)})
    return Json(body, status_code=201)


@router.get(
    "",
    summary="Sessions, the last changed first",
    response_model=shown.SessionPage,
    responses=session_failures(),
    openapi_extra={"parameters": documented(ListSessions)},
)
@router.get("/", include_in_schema=False)
@needs(Role.OPERATOR, bound="handled")
async def list_sessions(request: Request, sessions: SessionsDep) -> Response:
    query = query_of(request, ListSessions)
    page, total = await sessions.sessions(query.filter(), query.limit, query.offset)
    return json_of({"sessions": _all(page), "total": total})


def _all(page: Iterable[SessionView]) -> list[orjson.Fragment]:
    return [json_of_session(each) for each in page]


@router.get(
    "/details",
    summary="One session",
    response_model=shown.OneSession,
    responses=session_failures(404),
    openapi_extra=OF_SESSION,
)
@router.post(
    "/details",
    summary="One session",
    response_model=shown.OneSession,
    responses=session_failures(404),
    openapi_extra=body_of(OfSession),
)
@needs(Role.OPERATOR, bound="handled")
async def details(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(OfSession, request, replica, "sessionId")
    return json_of({"session": json_of_session(await sessions.session(of.session_id))})


@router.get(
    "/status",
    summary="What a session does",
    response_model=shown.StatusOf,
    responses=session_failures(404),
    openapi_extra=OF_SESSION,
)
@needs(Role.OPERATOR, bound="handled")
async def status(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(OfSession, request, replica, "sessionId")
    now = await sessions.status(of.session_id)
    shown_status = {"isProcessing": now.is_processing, "state": now.state}
    return json_of({"sessionId": of.session_id, "status": shown_status})


@router.post(
    "/update",
    summary="Change name or tags",
    response_model=shown.OneSession,
    responses=session_failures(404, 429),
    openapi_extra=body_of(Update),
)
@needs(Role.OPERATOR, bound="handled")
async def update(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(Update, request, replica, "sessionId")
    changes = of.changes()
    if changes == SessionChanges():
        session = await sessions.session(of.session_id)
    else:
        session = await sessions.update(of.session_id, changes)
    return json_of({"session": json_of_session(session)})


@router.post(
    "/model",
    summary="Change the model",
    description="From the next run on. GET /api/v1/models lists what there is.",
    response_model=shown.ModelChosen,
    responses=session_failures(404, 429),
    openapi_extra=body_of(ChooseModel),
)
@needs(Role.OPERATOR, bound="handled")
async def choose_model(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(ChooseModel, request, replica, "sessionId")
    _check_offered(of.model, await sessions.settings())
    session = await sessions.update(of.session_id, SessionChanges(model=of.model))
    return json_of({"success": True, "sessionInfo": json_of_session(session)})


def _check_offered(model: ModelChoice, settings: SessionSettings) -> None:
    """A backend that lists no models takes any. Raises: ModelNotFound."""
    offers = [each for each in settings.models if model.provider in ("", each.provider)]
    if not any(model.id in each.models or not each.models for each in offers):
        available = tuple(f"{each.provider}/{name}" for each in settings.models for name in each.models)
        raise ModelNotFound(f"{model.provider}/{model.id}".lstrip("/"), available)


@router.post(
    "/restore",
    summary="Bring a stored session back into memory",
    description="Any request that needs the session does this by itself.",
    response_model=shown.Restored,
    responses=session_failures(404, 429),
    openapi_extra=body_of(OfSession),
)
@needs(Role.OPERATOR, bound="handled")
async def restore(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(OfSession, request, replica, "sessionId")
    return json_of({"success": True, "session": json_of_session(await sessions.restore(of.session_id))})


@router.post(
    "/delete",
    summary="Delete a session, its events and its own workspace",
    response_model=shown.Done,
    responses=session_failures(404),
    openapi_extra=body_of(OfSession),
)
@needs(Role.OPERATOR, audit="session.delete", bound="handled")
async def delete(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(OfSession, request, replica, "sessionId")
    audit_target(request.scope, of.session_id)
    await sessions.delete(of.session_id)
    return json_of({"success": True})
