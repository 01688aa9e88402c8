"""The operator's verbs: inject, pause, resume, kill, requeue, reload, stop."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.messages import Inject
from serve_app.api_models import AcceptedView, AgentView, MessageView, ReloadedView, StatusView, ThreadView, failures
from serve_app.auth import GuardedRoute, audit_target, needs, principal_of
from serve_app.body import read_body
from serve_app.bounds import check_agent, check_letter, check_thread
from serve_app.dependencies import Replica, ReplicaDep
from serve_app.errors import InvalidRequest, UnsupportedMediaType
from serve_app.injecting import NewMessage, inject_of, inject_of_xml, parse_message, parse_object
from serve_app.queries import InjectQuery, documented, no_parameters, query_of
from serve_app.responses import json_of
from serve_app.token_checks import payer_of

router = APIRouter(route_class=GuardedRoute, tags=["control"])
without_parameters = [Depends(no_parameters)]

INJECT_DOCUMENT: dict[str, Any] = {
    "parameters": documented(InjectQuery),
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/NewMessage"}},
            "application/xml": {
                "schema": {"type": "string", "description": "the payload, as GET /agents/{name}/schema says"},
                "example": "<Greeting><name>Dan</name></Greeting>",
            },
        },
    },
}


@router.post(
    "/inject",
    summary="Send a message to an agent",
    description="Answers after the message is in the log. JSON: all in the body. XML: the body is the payload, "
    "`to` and `thread_id` are query parameters. A paused agent accepts, and handles it when it is resumed.",
    response_model=AcceptedView,
    responses=failures(400, 404, 409, 413, 415, 429),
    openapi_extra=INJECT_DOCUMENT,
)
@needs(Role.OPERATOR, audit="inject", bound="handled")
async def inject(request: Request, replica: ReplicaDep) -> Response:
    query = query_of(request, InjectQuery)
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type in ("application/xml", "text/xml"):
        message = await _xml_inject(request, query, replica)
    elif media_type == "application/json" or media_type.endswith("+json"):
        message = await _json_inject(request, replica)
    else:
        raise UnsupportedMediaType(media_type)
    principal = principal_of(request.scope)
    await replica.access.tokens.check(principal)
    accepted = await replica.inlet.submit(message._replace(owner=payer_of(principal)))
    return json_of(accepted._asdict())


async def _json_inject(request: Request, replica: Replica) -> Inject:
    body = await read_body(request, replica.live.limits.max_body_bytes)
    message = parse_message(parse_object(body))
    await _check_bounds(request, replica, message.to, message.thread_id)
    return inject_of(message, replica.classes, replica.live)


async def _xml_inject(request: Request, query: InjectQuery, replica: Replica) -> Inject:
    if not query.to:
        raise InvalidRequest((("to", "is needed as a query parameter when the body is XML"),))
    await _check_bounds(request, replica, query.to, query.thread_id)
    body = await read_body(request, replica.live.limits.max_body_bytes)
    return inject_of_xml(body, query.to, query.thread_id, replica.classes, replica.live)


async def _check_bounds(request: Request, replica: Replica, to: str, thread_id: str | None) -> None:
    """Before the payload is looked at, whose errors tell of the agent. Raises: AgentNotFound, ThreadNotFound."""
    audit_target(request.scope, to)
    principal = principal_of(request.scope)
    if principal.bounds is not None:
        check_agent(principal, to)
        if thread_id is not None:
            await check_thread(replica, principal, thread_id)


@router.post(
    "/threads/{thread_id}/kill",
    summary="Terminate a thread",
    description="Waiting messages are dropped, running handlers cancelled; later injects are refused.",
    response_model=ThreadView,
    responses=failures(404),
    dependencies=without_parameters,
)
@needs(Role.OPERATOR, audit="kill", bound="handled")
async def kill_thread(thread_id: str, request: Request, replica: ReplicaDep) -> Response:
    await check_thread(replica, principal_of(request.scope), thread_id)
    thread = await replica.organism.kill_thread(thread_id)
    return json_of(thread.to_api())


@router.post(
    "/agents/{name}/pause",
    summary="Pause an agent",
    description="Running handlers finish, further messages wait. A pause survives restarts.",
    response_model=AgentView,
    responses=failures(404),
    dependencies=without_parameters,
)
@needs(Role.OPERATOR, audit="pause", bound="agent")
async def pause_agent(name: str, replica: ReplicaDep) -> Response:
    return json_of(await replica.pause(name))


@router.post(
    "/agents/{name}/resume",
    summary="Resume a paused agent, or one in error",
    response_model=AgentView,
    responses=failures(404),
    dependencies=without_parameters,
)
@needs(Role.OPERATOR, audit="resume", bound="agent")
async def resume_agent(name: str, replica: ReplicaDep) -> Response:
    return json_of(await replica.resume(name))


@router.post(
    "/dead-letters/{message_id}/requeue",
    summary="Deliver a dead letter again",
    response_model=MessageView,
    response_model_exclude_unset=True,
    responses=failures(404, 409, 429),
    dependencies=without_parameters,
)
@needs(Role.OPERATOR, audit="requeue", bound="handled")
async def requeue(message_id: str, request: Request, replica: ReplicaDep) -> Response:
    principal = principal_of(request.scope)
    await check_letter(replica, principal, message_id)
    await replica.access.tokens.check(principal)
    message = await replica.organism.requeue(message_id, payer_of(principal))
    return json_of(message.to_api())


@router.post(
    "/organism/reload",
    summary="Read organism.yaml and the handlers anew",
    description="The file is checked whole first; an error changes nothing and is answered with its line.",
    response_model=ReloadedView,
    responses=failures(409),
    dependencies=without_parameters,
)
@needs(Role.ADMIN, audit="reload")
async def reload(replica: ReplicaDep) -> Response:
    reloaded = await replica.organism.reload()
    await replica.feed.refresh()  # a GET that follows shows the new agents
    return json_of(reloaded._asdict())


@router.post(
    "/organism/stop",
    summary="Stop gracefully",
    description="No injects are taken from now on; running handlers finish, what waits stays in the log.",
    response_model=StatusView,
    responses=failures(),
    dependencies=without_parameters,
)
@needs(Role.ADMIN, audit="stop")
async def stop(replica: ReplicaDep) -> Response:
    await replica.stop()
    return json_of({"status": "stopping"})


SCHEMAS = {"NewMessage": NewMessage.model_json_schema()}
"""Components that openapi_extra refers to, which FastAPI does not find by itself."""
