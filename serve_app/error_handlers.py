"""Every failure in one shape: `{"error": {"code", "message", "details"?}}`, and which status it has."""

from __future__ import annotations

import math
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from organism.errors import (
    BundleError,
    ConfigError,
    HandlerNotLoaded,
    InvalidPayload,
    NotFound,
    OrganismError,
    OrganismUnreachable,
    Overloaded,
    QueueFull,
    Refused,
    Stopping,
    StorageUnavailable,
)
from serve_app.errors import (
    BadRequest,
    BodyTooLarge,
    InvalidRequest,
    MalformedBody,
    PayloadClassMissing,
    ReplicaClosing,
    UnsupportedMediaType,
)
from serve_app.responses import Json

STATUS: dict[type, int] = {
    BadRequest: 400,
    MalformedBody: 400,
    InvalidRequest: 422,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    ConfigError: 422,
    BundleError: 422,
    HandlerNotLoaded: 422,
    NotFound: 404,
    Refused: 409,
    InvalidPayload: 422,
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

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def status_of(error: OrganismError) -> int:
    """The status of the nearest of the error's classes that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def describe(error: OrganismError) -> dict[str, Any]:
    """The error as clients see it, over REST and WebSocket: {code, message, details?}."""
    shown: dict[str, Any] = {"code": error.code, "message": str(error)}
    if details := _details(error):
        shown["details"] = details
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


def _answer(status: int, error: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Json(orjson.dumps({"error": error}), status_code=status, headers=headers)


async def answer_organism_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, OrganismError)
    status = status_of(error)
    return _answer(status, describe(error), {"retry-after": _retry_after(error)} if status in (429, 503) else None)


def _retry_after(error: OrganismError) -> str:
    delay_s = error.retry_after_s if isinstance(error, QueueFull) else 1.0
    return str(max(1, math.ceil(delay_s)))


async def answer_invalid_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # A path starts with "query" or "path": where the parameter stands is plain from its name.
    return _answer(422, describe(InvalidRequest(readable(error.errors(), skip=1))))


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Of the router itself: unknown routes and methods."""
    assert isinstance(error, HTTPException)
    code = HTTP_CODES.get(error.status_code, "http_error")
    message = f"{error.detail}: {request.method} {request.url.path}; /docs lists what there is"
    return _answer(error.status_code, {"code": code, "message": message}, dict(error.headers or {}))


async def answer_nobody(_: Request, __: Exception) -> Response:
    """The client left before its request was read: no failure of ours, and nobody gets this."""
    return Response(status_code=CLIENT_LEFT)


async def answer_unexpected(_: Request, __: Exception) -> Response:
    """A bug. The server logs it with its stack trace after this answer; the client learns nothing of our insides."""
    message = "internal error; its cause is in the log of this API replica"
    return _answer(500, {"code": "internal", "message": message})


def install(app: FastAPI) -> None:
    app.add_exception_handler(OrganismError, answer_organism_error)
    app.add_exception_handler(RequestValidationError, answer_invalid_parameters)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(ClientDisconnect, answer_nobody)
    app.add_exception_handler(Exception, answer_unexpected)
