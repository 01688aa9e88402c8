"""Server-sent events: how they look, and a response that sends them until they end or the client leaves.

A block begins with `data: `, as older clients need it, and has the seq as its id where the event is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from organism.sessions.events import Frame
from serve_app.auth import principal_of
from serve_app.dependencies import Replica
from serve_app.request_timeout import lift_timeout

STALL_S = 30.0
"""A client that takes nothing for so long is left."""

PING = b": ping\n\n"

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",  # nginx would gather them
}

Blocks = AsyncGenerator[bytes]


def block(frame: Frame) -> bytes:
    if frame.seq is None:
        return b"data: %b\n\n" % frame.body
    return b"data: %b\nid: %d\n\n" % (frame.body, frame.seq)


def block_of(value: Mapping[str, Any]) -> bytes:
    """An event that is none of the session's own."""
    return b"data: %b\n\n" % orjson.dumps(value)


class ClientLeft(Exception):
    """The client has closed the connection, or reads nothing any more."""


class EventStream(Response):
    """Sends each item of `source` at once, as it comes.

    `source` is entered before anything is sent, so what it raises then is answered as any error of a route, with its
    status; from then on it has to tell of errors in events. It is left when the client leaves.
    """

    def __init__(self, source: AbstractAsyncContextManager[Blocks], replica: Replica) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(HEADERS)
        self._source = source
        self._replica = replica
        self._heartbeat_s = replica.live.api.heartbeat_s
        self._has_begun = False
        self._is_sending = False
        self._since_s = 0.0  # when that began, or ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        life = asyncio.timeout(None)
        end = partial(life.reschedule, 0.0)
        try:
            async with life:
                with self._replica.stream_place(), self._replica.access.stream(principal_of(scope), end):
                    await self._stream(scope, receive, send)
        except TimeoutError:
            if not life.expired() or not self._has_begun:
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._source as blocks:
            lift_timeout(scope)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._has_begun = True
            try:
                async with asyncio.TaskGroup() as tasks:
                    attending = tasks.create_task(self._attend(receive, send), name="client of an event stream")
                    await self._send_all(blocks, send)
                    attending.cancel()
            except* ClientLeft:
                pass

    async def _send_all(self, blocks: Blocks, send: Send) -> None:
        try:
            self._note(is_sending=False)
            async for content in blocks:
                await self._send(send, content)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError as error:  # how some servers tell it
            raise ClientLeft from error

    async def _send(self, send: Send, content: bytes) -> None:
        self._note(is_sending=True)
        await send({"type": "http.response.body", "body": content, "more_body": True})
        self._note(is_sending=False)

    def _note(self, *, is_sending: bool) -> None:
        self._is_sending = is_sending
        self._since_s = asyncio.get_running_loop().time()

    async def _attend(self, receive: Receive, send: Send) -> None:
        """Waits for the client to leave; meanwhile sends a heartbeat whenever nothing was sent for a while."""
        while True:
            try:
                async with asyncio.timeout_at(self._due_s()):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    raise ClientLeft
            except TimeoutError:
                await self._check(send)

    def _due_s(self) -> float:
        return self._since_s + (STALL_S if self._is_sending else self._heartbeat_s)

    async def _check(self, send: Send) -> None:
        if asyncio.get_running_loop().time() < self._due_s():
            return
        if self._is_sending:
            raise ClientLeft
        await self._send(send, PING)
