"""No HTTP request waits longer than api.request_timeout_s for the organism, save those that wait for a model."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from organism.errors import OrganismUnreachable
from serve_app.error_handlers import answer_organism_error

KEY = "organism.request_timeout"
"""Where a request's scope has its timeout."""


def lift_timeout(scope: Scope) -> None:
    """This request may take as long as it likes from now on: runs of agents have limits of their own."""
    timeout: asyncio.Timeout | None = scope.get(KEY)
    if timeout is not None:
        timeout.reschedule(None)


class RequestTimeout:
    """Answers 503 when the rest of the application takes too long; WebSockets pass."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        timeout_s = scope["app"].state.replica.live.api.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s) as scope[KEY]:
                await self._app(scope, receive, note_start)
        except TimeoutError:
            if started:
                raise
            error = OrganismUnreachable(f"no answer within {timeout_s:g} s")
            response = await answer_organism_error(Request(scope), error)
            await response(scope, receive, send)
