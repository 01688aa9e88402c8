"""API keys: made, listed, revoked. Their secret is in the answer that makes one, and nowhere else."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.access.ref import AccessRef
from organism.messages import now_ms
from serve_app.access_models import IssuedKeyView, KeyList, KeyRequest, KeyView
from serve_app.api_models import failures
from serve_app.auth import GuardedRoute, audit_target, needs
from serve_app.dependencies import Replica, ReplicaDep
from serve_app.errors import AccessNotServed
from serve_app.queries import no_parameters
from serve_app.responses import json_of
from serve_app.session_models import body_of
from serve_app.session_requests import request_of

router = APIRouter(route_class=GuardedRoute, prefix="/keys", tags=["access"], dependencies=[Depends(no_parameters)])


def access_of(replica: Replica) -> AccessRef:
    """Raises: AccessNotServed."""
    if replica.access.ref is None:
        raise AccessNotServed
    return replica.access.ref


@router.get("", summary="API keys, also revoked ones", response_model=KeyList, responses=failures())
@needs(Role.ADMIN)
async def list_keys(replica: ReplicaDep) -> Response:
    keys = [key.to_api(now_ms()) for key in await access_of(replica).keys()]
    return json_of({"keys": keys, "count": len(keys)})


@router.post(
    "",
    summary="A new API key",
    description="`key` is shown in this answer and never again. With the first key authentication begins.",
    status_code=201,
    response_model=IssuedKeyView,
    responses=failures(400, 409, 413, 415),
    openapi_extra=body_of(KeyRequest),
)
@needs(Role.ADMIN, audit="key.add")
async def add_key(request: Request, replica: ReplicaDep) -> Response:
    wanted = await request_of(KeyRequest, request, replica)
    audit_target(request.scope, wanted.name)
    issued = await access_of(replica).add_key(wanted.new_key())
    await replica.access.refresh()
    answer = json_of({**issued.key.to_api(now_ms()), "key": issued.text})
    answer.status_code = 201
    return answer


@router.delete(
    "/{name}",
    summary="Revoke a key",
    description="By name or id. What it has open is closed within a second.",
    response_model=KeyView,
    responses=failures(404),
)
@needs(Role.ADMIN, audit="key.revoke")
async def revoke_key(name: str, replica: ReplicaDep) -> Response:
    key = await access_of(replica).revoke_key(name)
    await replica.access.refresh()
    return json_of(key.to_api(now_ms()))
