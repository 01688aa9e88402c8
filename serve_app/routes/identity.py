"""Who the API takes a client for."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.messages import iso_timestamp
from serve_app.access_models import IdentityView
from serve_app.api_models import failures
from serve_app.auth import GuardedRoute, needs, principal_of
from serve_app.queries import no_parameters
from serve_app.responses import json_of

router = APIRouter(route_class=GuardedRoute, tags=["access"])


@router.get(
    "/me",
    summary="Who you are, and what you may do",
    response_model=IdentityView,
    responses=failures(401),
    dependencies=[Depends(no_parameters)],
)
@needs(Role.VIEWER, bound="handled")
async def who_am_i(request: Request) -> Response:
    principal = principal_of(request.scope)
    expires_at = None if principal.expires_at is None else iso_timestamp(principal.expires_at)
    bounds = None if principal.bounds is None else principal.bounds.to_api()
    return json_of({"id": principal.id, "role": principal.role.label, "bounds": bounds, "expires_at": expires_at})
