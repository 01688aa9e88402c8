"""The files of a session, for clients to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from organism.access.principal import Role
from organism.errors import OrganismError
from organism.masking import mask_text
from organism.sessions.ref import SessionsRef
from organism.sessions.workspace import Workspace
from serve_app import session_models as shown
from serve_app.auth import GuardedRoute, needs
from serve_app.dependencies import ReplicaDep, SessionsDep
from serve_app.queries import documented
from serve_app.responses import json_of
from serve_app.session_models import body_of, session_failures
from serve_app.session_requests import FilesOf, SearchFiles, ValidatePaths, request_of

router = APIRouter(prefix="/sessions/workspace", tags=["sessions"], route_class=GuardedRoute)

MAX_FOUND = 20

UNTRUSTED = {
    "content-disposition": "attachment",
    "content-security-policy": "sandbox; default-src 'none'",
}
"""What an agent has written is never shown as a page of this server."""


@router.get(
    "/files",
    summary="A file, or a directory with what is in it",
    response_model=shown.FileEntry | shown.DirectoryEntry,
    responses=session_failures(404),
    openapi_extra={"parameters": documented(FilesOf)},
)
@needs(Role.OPERATOR, bound="handled")
async def files(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(FilesOf, request, replica, "sessionId", "path")
    workspace = await _workspace_of(sessions, of.session_id)
    response = json_of(await asyncio.to_thread(_look, workspace, of.path or "."))
    response.headers.update(UNTRUSTED)
    return response


def _look(workspace: Workspace, path: str) -> dict[str, Any]:
    entry = None if path == "." else workspace.info(path)
    if entry is not None and entry.type == "file":
        return entry._asdict()
    listed = [each._asdict() for each in workspace.listing(path)]
    return {"type": "directory", "path": "." if entry is None else entry.path, "files": listed}


@router.get(
    "/search",
    summary="Files and directories by a part of their path",
    response_model=shown.Found,
    responses=session_failures(404),
    openapi_extra={"parameters": documented(SearchFiles)},
)
@needs(Role.OPERATOR, bound="handled")
async def search(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(SearchFiles, request, replica, "sessionId", "q", "type")
    workspace = await _workspace_of(sessions, of.session_id)
    kind = None if of.type == "all" else of.type
    found = await asyncio.to_thread(workspace.search, of.q, kind, MAX_FOUND)
    items = [{"name": each.name, "path": each.path, "type": each.type, "relativePath": each.path} for each in found]
    return json_of({"items": items})


@router.post(
    "/validate",
    summary="Which of these paths there are",
    response_model=shown.Checked,
    response_model_exclude_unset=True,
    responses=session_failures(404),
    openapi_extra=body_of(ValidatePaths),
)
@needs(Role.OPERATOR, bound="handled")
async def validate(request: Request, replica: ReplicaDep, sessions: SessionsDep) -> Response:
    of = await request_of(ValidatePaths, request, replica, "sessionId")
    workspace = await _workspace_of(sessions, of.session_id)
    return json_of({"results": await asyncio.to_thread(_checked, workspace, of.paths)})


def _checked(workspace: Workspace, paths: Iterable[str]) -> list[dict[str, Any]]:
    return [_check(workspace, path) for path in paths]


def _check(workspace: Workspace, path: str) -> dict[str, Any]:
    try:
        return {"path": path, "exists": True, "type": workspace.info(path).type}
    except OrganismError as error:
        return {"path": path, "exists": False, "error": mask_text(str(error))}


async def _workspace_of(sessions: SessionsRef, session_id: str) -> Workspace:
    session = await sessions.session(session_id)
    settings = await sessions.settings()
    return Workspace(Path(settings.workspace_root) / session.working_directory)
