"""Reading a request body without taking in more than is allowed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from serve_app.errors import BodyTooLarge


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, given up as soon as it is longer than `max_bytes`.

    Raises:
        BodyTooLarge: also when only the Content-Length says so.
    """
    declared = request.headers.get("content-length", "0")
    size_bytes = int(declared) if declared.isdecimal() else 0
    chunks: list[bytes] = []
    if size_bytes <= max_bytes:
        size_bytes = 0
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > max_bytes:
                break
            chunks.append(chunk)
    if size_bytes > max_bytes:
        raise BodyTooLarge("body", max_bytes, "limits.max_body_bytes")
    return b"".join(chunks)


async def with_body(scope: Scope, receive: Receive, max_bytes: int) -> tuple[Scope, Receive]:
    """The request with its whole body, for libraries that read without a limit and go by Content-Length.

    Raises:
        BodyTooLarge
    """
    body = await read_body(Request(scope, receive), max_bytes)
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]

    async def receive_body() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return {**scope, "headers": [*headers, (b"content-length", b"%d" % len(body))]}, receive_body
