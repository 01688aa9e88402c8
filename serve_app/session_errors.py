"""The shape of failures below the session routes: `{"error": "<text>", "code", "details"?, …}`.

Clients of that API show `error` as it is, so there it is a text, and what else is known stands beside it.
"""

from __future__ import annotations

from typing import Any

from starlette.types import Scope

from organism.errors import ServerExclusive

PREFIXES = ("/api/sessions", "/api/v1/sessions", "/api/v1/oneshot", "/api/v1/models")

STATUS_THERE = {422: 400}
"""These clients know 400 for everything that is wrong with a request."""


def has_session_shape(scope: Scope) -> bool:
    """Whether the answer to this request has the shape of the session routes, whatever becomes of it."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith(PREFIXES) and any(path == each or path.startswith(f"{each}/") for each in PREFIXES)


def session_shape(shown: dict[str, Any], error: Exception | None = None) -> dict[str, Any]:
    """An error of the other routes, {code, message, details?}, as these clients expect it."""
    body = {"error": shown["message"], **{key: value for key, value in shown.items() if key != "message"}}
    if isinstance(error, ServerExclusive) and error.running_session_id:
        body["runningSessionId"] = error.running_session_id
    return body
