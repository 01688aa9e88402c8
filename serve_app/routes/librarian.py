"""Libraries of the librarian: ingested, listed, shown, deleted; and the jobs that ingest them."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from librarian.values import IngestResult, Job, LibrarySummary, LibraryView
from organism.access.principal import Role
from organism.masking import mask_text
from serve_app.auth import GuardedRoute, audit_target, needs, principal_of
from serve_app.dependencies import LibrarianDep, ReplicaDep
from serve_app.librarian_errors import without_secrets
from serve_app.librarian_models import Deleted, JobPage, LibraryPage, answers, librarian_failures
from serve_app.librarian_requests import IngestQuery, JobsQuery, LibrariesQuery, NewLibrary
from serve_app.queries import documented, no_parameters, query_of
from serve_app.request_timeout import lift_timeout
from serve_app.responses import json_of, page_of
from serve_app.session_models import body_of
from serve_app.session_requests import request_of

router = APIRouter(route_class=GuardedRoute, prefix="/librarian", tags=["librarian"])
without_parameters = [Depends(no_parameters)]

LIBRARY_PATH = "/api/v1/librarian/libraries"
JOB_PATH = "/api/v1/librarian/jobs"
PREFER_DOCUMENT = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`respond-async`: answer 202 with the job at once",
    "schema": {"type": "string"},
    "example": "respond-async",
}
LOCATION = {"Location": {"description": "of the job", "schema": {"type": "string"}}}


@router.get(
    "/libraries",
    summary="Libraries",
    description="By name. A library that cannot be used says why in `damage`.",
    responses={**answers(LibraryPage), **librarian_failures()},
    openapi_extra={"parameters": documented(LibrariesQuery)},
)
@needs(Role.VIEWER, bound="handled")
async def list_libraries(request: Request, librarian: LibrarianDep) -> Response:
    query = query_of(request, LibrariesQuery)
    principal = principal_of(request.scope)
    seen = (each for each in await librarian.libraries() if principal.may_reach_library(each.library_id))
    found = [each for each in seen if _has(each, query.q)]
    page = found[query.offset : query.offset + query.limit]
    return page_of("libraries", page, len(found), query.limit, query.offset)


def _has(library: LibrarySummary, q: str | None) -> bool:
    named = (library.name, library.library_id, library.source_url)
    return q is None or any(q.casefold() in each.casefold() for each in named)


@router.post(
    "/libraries",
    summary="Ingest a git repository, or bring its library up to date",
    description="Answers when it is done; the ingest goes on when the client leaves. Searches see the old state until "
    "the new one is whole. With `wait=false`, or `Prefer: respond-async`, the answer is the job, at once; `ingest` "
    "events on `/ws` tell of its progress.",
    responses={
        **answers(IngestResult),
        202: {**answers(Job, 202, "It has begun: this is its job")[202], "headers": LOCATION},
        **librarian_failures(400, 409, 413, 415, 429, 500, 502),
    },
    openapi_extra={**body_of(NewLibrary), "parameters": [*documented(IngestQuery), PREFER_DOCUMENT]},
)
@needs(Role.ADMIN, audit="library.ingest")
async def ingest(request: Request, replica: ReplicaDep, librarian: LibrarianDep) -> Response:
    query = query_of(request, IngestQuery)
    new = await request_of(NewLibrary, request, replica)
    audit_target(request.scope, mask_text(new.git_url))
    if query.is_asynchronous(request):
        job = await librarian.start_ingest(new.git_url, new.branch, new.library_name)
        answer = json_of(job)
        answer.status_code = 202
        answer.headers["location"] = f"{request.scope.get('root_path', '')}{JOB_PATH}/{job.job_id}"
        return answer
    lift_timeout(request.scope)
    return json_of(await librarian.ingest(new.git_url, new.branch, new.library_name))


@router.get(
    "/libraries/{library_id}",
    summary="One library, with what is in it",
    description="`functions` and `classes` name the one file that each name most likely means, `symbols` all.",
    responses={**answers(LibraryView), **librarian_failures(404, 500)},
    dependencies=without_parameters,
)
@needs(Role.VIEWER, bound="library")
async def get_library(library_id: str, librarian: LibrarianDep) -> Response:
    return json_of(await librarian.library(library_id))


@router.delete(
    "/libraries/{library_id}",
    summary="Delete a library and all its files",
    description="Its ingest, if there is one, is cancelled.",
    responses={**answers(Deleted), **librarian_failures(404)},
    dependencies=without_parameters,
)
@needs(Role.ADMIN, audit="library.delete", bound="library")
async def delete_library(library_id: str, librarian: LibrarianDep) -> Response:
    await librarian.delete(library_id)
    return json_of({"library_id": library_id, "deleted": True})


@router.get(
    "/jobs",
    summary="Ingests, the newest first",
    responses={**answers(JobPage), **librarian_failures()},
    openapi_extra={"parameters": documented(JobsQuery)},
)
@needs(Role.VIEWER)
async def list_jobs(request: Request, librarian: LibrarianDep) -> Response:
    query = query_of(request, JobsQuery)
    found = await librarian.jobs()
    page = [without_secrets(job) for job in found[query.offset : query.offset + query.limit]]
    return page_of("jobs", page, len(found), query.limit, query.offset)


@router.get(
    "/jobs/{job_id}",
    summary="One ingest: how far it is, or how it ended",
    responses={**answers(Job), **librarian_failures(404)},
    dependencies=without_parameters,
)
@needs(Role.VIEWER)
async def get_job(job_id: str, librarian: LibrarianDep) -> Response:
    return json_of(without_secrets(await librarian.job(job_id)))


@router.delete(
    "/jobs/{job_id}",
    summary="Cancel an ingest",
    description="The library stays as it was. A job that has ended stays as it is.",
    responses={**answers(Job), **librarian_failures(404)},
    dependencies=without_parameters,
)
@needs(Role.ADMIN, audit="job.cancel")
async def cancel_job(job_id: str, librarian: LibrarianDep) -> Response:
    return json_of(without_secrets(await librarian.cancel(job_id)))
