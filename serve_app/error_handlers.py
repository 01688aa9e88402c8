"""Every failure in one shape: `{"error": {"code", "message", "details"?}}`, and which status it has.

The routes of agent sessions have a shape of their own, session_errors.py.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path

from librarian.errors import LibrarianError
from organism.errors import (
    AccessRefused,
    BundleError,
    ConfigError,
    HandlerNotLoaded,
    InvalidPayload,
    InvalidQuery,
    ModelError,
    NotFound,
    OrganismError,
    OrganismUnreachable,
    Overloaded,
    PathRefused,
    Refused,
    RunInterrupted,
    RunTimeout,
    SessionAgentNotFound,
    Stopping,
    StorageUnavailable,
    Unauthenticated,
)
from organism.llm.base import BudgetExceeded, ModelNotFound
from organism.masking import mask, mask_text
from serve_app.errors import (
    AccessNotServed,
    BadRequest,
    BodyTooLarge,
    InvalidRequest,
    LibrarianNotServed,
    MalformedBody,
    PayloadClassMissing,
    ReplicaClosing,
    SessionsNotServed,
    UnsupportedMediaType,
)
from serve_app.librarian_errors import describe_librarian, librarian_headers, librarian_status
from serve_app.responses import Json
from serve_app.security_headers import NO_STORE, NOTHING, SECURITY_HEADERS
from serve_app.session_errors import STATUS_THERE, has_session_shape, session_shape

STATUS: dict[type, int] = {
    BadRequest: 400,
    MalformedBody: 400,
    InvalidRequest: 422,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    ConfigError: 422,
    BundleError: 422,
    HandlerNotLoaded: 422,
    Unauthenticated: 401,
    AccessRefused: 403,
    NotFound: 404,
    Refused: 409,
    InvalidPayload: 422,
    InvalidQuery: 400,
    PathRefused: 400,
    SessionAgentNotFound: 400,
    ModelNotFound: 400,
    BudgetExceeded: 429,
    ModelError: 502,
    RunInterrupted: 503,
    RunTimeout: 504,
    AccessNotServed: 503,
    SessionsNotServed: 503,
    LibrarianNotServed: 503,
    Stopping: 503,
    ReplicaClosing: 503,
    Overloaded: 429,
    StorageUnavailable: 503,
    PayloadClassMissing: 503,
    OrganismUnreachable: 503,
    OrganismError: 500,
}

CLIENT_LEFT = 499
"""What proxies log for it; no standard status."""

MAX_PATH_CHARS = 1000
"""Of an unknown path, in the answer: strangers may send 64 KiB, and looking through these takes a tenth of a second."""

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def status_of(error: OrganismError) -> int:
    """The status of the nearest of the error's classes that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def describe(error: OrganismError) -> dict[str, Any]:
    """The error as clients see it, over REST and WebSocket: {code, message, details?}, without secrets: what an
    endpoint of a model said may have the key in it that it was sent."""
    shown: dict[str, Any] = {"code": error.code, "message": mask_text(str(error))}
    if details := _details(error):
        shown["details"] = mask(details)
    return shown


def readable(errors: Any, skip: int = 0) -> tuple[tuple[str, str], ...]:
    """Pydantic's error list as `(dotted path, text)` pairs; `skip` leaves out leading parts of each path."""
    return tuple(
        (".".join(str(part) for part in error["loc"][skip:]), error["msg"].removeprefix("Value error, "))
        for error in errors
    )


def _details(error: OrganismError) -> list[dict[str, Any]]:
    if isinstance(error, (InvalidPayload, InvalidRequest)):
        return [{"path": path, "problem": text} for path, text in error.problems]
    if isinstance(error, ConfigError):
        return [_config_problem(each) for each in error.problems]
    if isinstance(error, HandlerNotLoaded):
        return [{"path": f"listeners.{error.listener}", "problem": f"cannot load {error.dotted}: {error.reason}"}]
    return []


def _config_problem(error: ConfigError) -> dict[str, Any]:
    place = {"file": error.file, "line": error.line}
    return {"path": error.field, "problem": error.problem, "remedy": error.remedy, **place}


def _answer(
    request: Request,
    status: int,
    shown: dict[str, Any],
    error: Exception | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    if has_session_shape(request.scope):
        body = session_shape(shown, error)
        status = STATUS_THERE.get(status, status)
    else:
        body = {"error": shown}
    return Json(orjson.dumps(body), status_code=status, headers=headers)


async def answer_organism_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OrganismError)
    status = status_of(error)
    return _answer(request, status, describe(error), error, _headers(error, status))


def _headers(error: OrganismError, status: int) -> dict[str, str] | None:
    if status == HTTPStatus.UNAUTHORIZED:
        return {"www-authenticate": 'Bearer realm="organism"'}
    return {"retry-after": _retry_after(error)} if status in (429, 503) else None


def _retry_after(error: OrganismError) -> str:
    delay_s: float = getattr(error, "retry_after_s", 1.0)  # of QueueFull, TooManySessions
    return str(max(1, math.ceil(delay_s)))


async def answer_librarian_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LibrarianError)
    headers = librarian_headers(error)
    return _answer(request, librarian_status(error), describe_librarian(error), headers=headers)


async def answer_invalid_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # A path starts with "query" or "path": where the parameter stands is plain from its name.
    return _answer(request, 422, describe(InvalidRequest(readable(error.errors(), skip=1))))


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Of the router itself: unknown routes and methods."""
    assert isinstance(error, HTTPException)
    code = HTTP_CODES.get(error.status_code, "http_error")
    path = request.url.path[:MAX_PATH_CHARS]
    message = mask_text(f"{error.detail}: {request.method} {path}; /docs lists what there is")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(sorted(_allowed(request))) or headers.get("Allow", "")}
    return _answer(request, error.status_code, {"code": code, "message": message}, headers=headers)


def _allowed(request: Request) -> set[str]:
    """The methods of all routes at this path, as documented: the router tells only those of the first one."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    documented = request.app.openapi()["paths"].items()
    return {method.upper() for template, here in documented if compile_path(template)[0].match(path) for method in here}


async def answer_nobody(_: Request, __: Exception) -> Response:
    """The client left before its request was read: no failure of ours, and nobody gets this."""
    return Response(status_code=CLIENT_LEFT)


async def answer_unexpected(request: Request, _: Exception) -> Response:
    """A bug. The server logs it with its stack trace after this answer; the client learns nothing of our insides.

    Starlette answers it around all our middleware, so what these add to answers is added here.
    """
    message = "internal error; its cause is in the log of this API replica"
    response = _answer(request, 500, {"code": "internal", "message": message})
    response.raw_headers += (*SECURITY_HEADERS, NOTHING, NO_STORE)
    return response


def install(app: FastAPI) -> None:
    app.add_exception_handler(OrganismError, answer_organism_error)
    app.add_exception_handler(LibrarianError, answer_librarian_error)
    app.add_exception_handler(RequestValidationError, answer_invalid_parameters)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(ClientDisconnect, answer_nobody)
    app.add_exception_handler(Exception, answer_unexpected)
