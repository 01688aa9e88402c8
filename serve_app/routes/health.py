"""Whether this replica lives, and whether the organism behind it answers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from serve_app.api_models import StatusView, failures
from serve_app.auth import GuardedRoute, needs
from serve_app.dependencies import ReplicaDep
from serve_app.responses import json_of

router = APIRouter(route_class=GuardedRoute, tags=["health"])


@router.get("/health", summary="This API replica lives", response_model=StatusView)
@needs(None)
async def health(replica: ReplicaDep) -> Response:
    replica.feed.check()  # raises what ended it: the answer is 500 then, and the replica is replaced
    return json_of({"status": "ok"})


@router.get("/ready", summary="Pump and storage answer", response_model=StatusView, responses=failures())
@needs(None)
async def ready(replica: ReplicaDep) -> Response:
    replica.feed.check()
    replica.live.organism()
    await replica.organism.ping()
    return json_of({"status": "ready"})
