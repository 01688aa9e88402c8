"""The audit log: who did what, and who tried."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from organism.access.principal import Role
from serve_app.access_models import AuditPage, AuditQuery
from serve_app.api_models import failures
from serve_app.auth import GuardedRoute, needs
from serve_app.dependencies import ReplicaDep
from serve_app.queries import documented, query_of
from serve_app.responses import json_of
from serve_app.routes.keys import access_of

router = APIRouter(route_class=GuardedRoute, tags=["access"])


@router.get(
    "/audit",
    summary="The audit log, the newest first",
    description="Verbs, failed logins, changes of keys. `before=<seq>` gives older records, `after=<seq>` newer ones.",
    response_model=AuditPage,
    responses=failures(),
    openapi_extra={"parameters": documented(AuditQuery)},
)
@needs(Role.ADMIN)
async def list_audit(request: Request, replica: ReplicaDep) -> Response:
    query = query_of(request, AuditQuery)
    records = [record.to_api() for record in await access_of(replica).audit_page(query.filter(), query.limit)]
    return json_of({"records": records, "count": len(records)})
