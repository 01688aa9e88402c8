"""Agents, answered from the live picture; pause and resume are in control.py."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.schema import xsd
from serve_app.api_models import AgentPage, AgentView, failures
from serve_app.auth import GuardedRoute, needs, principal_of
from serve_app.dependencies import LiveDep, ReplicaDep
from serve_app.queries import AgentQuery, documented, no_parameters, query_of
from serve_app.responses import Json, Xml, json_of, page_of, prefers_json, yaml_or_json
from serve_app.routes.organism import YAML_OR_JSON

router = APIRouter(route_class=GuardedRoute, prefix="/agents", tags=["agents"])

XSD_OR_JSON_SCHEMA = {
    "description": "an XML Schema, or JSON Schema when the Accept header asks for it",
    "content": {
        "application/xml": {"schema": {"type": "string"}},
        "application/json": {"schema": {"type": "object"}},
    },
}


@router.get(
    "",
    summary="All agents with their state",
    response_model=AgentPage,
    responses=failures(),
    openapi_extra={"parameters": documented(AgentQuery)},
)
@needs(Role.VIEWER, bound="handled")
async def list_agents(request: Request, live: LiveDep) -> Response:
    query = query_of(request, AgentQuery)
    agents = live.agents(query.filter(), principal_of(request.scope).bounds)
    shown = agents[query.offset : query.offset + query.limit]
    return page_of("agents", shown, len(agents), query.limit, query.offset)


@router.get(
    "/{name}",
    summary="One agent",
    response_model=AgentView,
    responses=failures(404),
    dependencies=[Depends(no_parameters)],
)
@needs(Role.VIEWER, bound="agent")
async def get_agent(name: str, live: LiveDep) -> Response:
    return Json(live.agent_json(name))


@router.get(
    "/{name}/config",
    summary="The agent's section of the configuration",
    response_class=Response,
    responses={200: YAML_OR_JSON, **failures(404)},
    dependencies=[Depends(no_parameters)],
)
@needs(Role.VIEWER, bound="agent")
async def get_agent_config(name: str, request: Request, live: LiveDep) -> Response:
    return yaml_or_json(request, live.agent_config(name))


@router.get(
    "/{name}/schema",
    summary="What the agent's payloads must look like",
    response_class=Response,
    responses={200: XSD_OR_JSON_SCHEMA, **failures(404)},
    dependencies=[Depends(no_parameters)],
)
@needs(Role.VIEWER, bound="agent")
async def get_agent_schema(name: str, request: Request, replica: ReplicaDep) -> Response:
    payload_type = replica.classes.of(name)
    if prefers_json(request, "application/xml"):
        return json_of(payload_type.json_schema())
    return Xml(xsd(payload_type))
