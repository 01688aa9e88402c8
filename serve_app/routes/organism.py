"""The organism: its figures and its configuration."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from organism.access.principal import Role
from serve_app.api_models import OrganismView, failures
from serve_app.auth import GuardedRoute, needs
from serve_app.dependencies import LiveDep
from serve_app.queries import no_parameters
from serve_app.responses import json_of, yaml_or_json

router = APIRouter(
    route_class=GuardedRoute, prefix="/organism", tags=["organism"], dependencies=[Depends(no_parameters)]
)

YAML_OR_JSON = {
    "description": "YAML, or JSON when the Accept header asks for it; secrets are masked",
    "content": {
        "application/yaml": {"schema": {"type": "object"}},
        "application/json": {"schema": {"type": "object"}},
    },
}


@router.get("", summary="Organism info and figures", response_model=OrganismView, responses=failures())
@needs(Role.VIEWER, bound="handled")
async def get_organism(live: LiveDep) -> Response:
    return json_of(live.organism())


@router.get(
    "/config",
    summary="The configuration, without secrets",
    response_class=Response,
    responses={200: YAML_OR_JSON, **failures()},
)
@needs(Role.VIEWER)
async def get_config(request: Request, live: LiveDep) -> Response:
    live.organism()  # refuses while there is no picture yet
    return yaml_or_json(request, live.config)
