"""What sessions can be created with, and which version answers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from organism.access.principal import Role
from organism.sessions.records import ModelChoice
from serve_app import session_models as shown
from serve_app.api_models import failures
from serve_app.auth import GuardedRoute, needs
from serve_app.dependencies import SessionsDep
from serve_app.responses import json_of
from serve_app.session_models import session_failures

router = APIRouter(tags=["sessions"], route_class=GuardedRoute)


@router.get(
    "/models",
    summary="Models and agents to choose from",
    response_model=shown.Models,
    responses=session_failures(),
)
@needs(Role.VIEWER, bound="handled")
async def list_models(sessions: SessionsDep) -> Response:
    settings = await sessions.settings()
    return json_of(
        {
            "models": [{"provider": each.provider, "models": each.models} for each in settings.models],
            "defaultModel": _shown(settings.default_model),
            "agents": [{"name": name, "description": description} for name, description in settings.agents],
        }
    )


def _shown(model: ModelChoice | None) -> dict[str, Any] | None:
    """Older clients read `modelId`."""
    return None if model is None else {"provider": model.provider, "id": model.id, "modelId": model.id}


@router.get("/version", summary="Which version answers", response_model=shown.Version, responses=failures())
@needs(Role.VIEWER, bound="handled")
async def get_version() -> Response:
    return json_of({"name": "organism", "version": version("organism")})
