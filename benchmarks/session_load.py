"""An HTTP client for session requests that costs little: answers of known length, and chunked event streams."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, NamedTuple, Self, cast

from benchmarks.http_load import HEAD_END, LENGTH, UnexpectedAnswer, request_bytes

EVENT = b"data: {"
LAST_EVENT = b'"type":"agent_run_end"'
DELTA = b'"type":"assistant_streaming_message"'
LAST_CHUNK = b"\r\n0\r\n\r\n"


class Streamed(NamedTuple):
    """An event stream: how many events, and seconds until the first one and until all were there."""

    events: int
    first_s: float
    whole_s: float


class SessionClient(asyncio.Protocol):
    """One connection, kept alive, one request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._authority = f"{host}:{port}"
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._is_stream = False
        self._first_s = 0.0
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def connect(cls, host: str, port: int) -> Self:
        _, client = await asyncio.get_running_loop().create_connection(lambda: cls(host, port), host, port)
        return client

    async def create(self) -> str:
        """A new session's id."""
        return json.loads(await self._post("/api/v1/sessions/create", {}))["sessionId"]

    async def query(self, session_id: str) -> None:
        """Asks, and waits for the whole answer."""
        body = await self._post("/api/v1/sessions/query", {"sessionId": session_id, "query": "Tell me a story"})
        if b'"finishReason":"stop"' not in body:
            raise UnexpectedAnswer(body[:500].decode(errors="replace"))

    async def stream(self, session_id: str, tokens: int) -> Streamed:
        """Asks, and counts the events; raises UnexpectedAnswer when a token or the end is missing."""
        started_s = time.perf_counter()
        self._is_stream = True
        body = await self._post("/api/v1/sessions/query/stream", {"sessionId": session_id, "query": "Tell me a story"})
        if body.count(DELTA) < tokens or body.count(LAST_EVENT) != 1:
            raise UnexpectedAnswer(f"{body.count(DELTA)} tokens in {body[:500]!r}")
        return Streamed(body.count(EVENT), self._first_s - started_s, time.perf_counter() - started_s)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def _post(self, path: str, body: dict[str, Any]) -> bytes:
        assert self._transport is not None
        self._parts.clear()
        self._first_s = 0.0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request_bytes("POST", path, self._authority, json.dumps(body).encode()))
        try:
            return await self._answer
        finally:
            self._is_stream = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if self._is_stream:
            if not self._first_s and EVENT in data:
                self._first_s = time.perf_counter()
            if not data.endswith(LAST_CHUNK[2:]):
                if len(self._parts) == 1 and not data.startswith(b"HTTP/1.1 200"):
                    self._fail(data[:500].decode(errors="replace"))
                return
            self._finish(b"".join(self._parts))
            return
        answer = b"".join(self._parts)
        head_end = answer.find(HEAD_END)
        if head_end < 0:
            return
        if not answer.startswith(b"HTTP/1.1 2"):
            self._fail(answer[:500].decode(errors="replace"))
            return
        length_at = answer.lower().find(LENGTH, 0, head_end) + len(LENGTH)
        size = int(answer[length_at : answer.index(b"\r", length_at)])
        if len(answer) >= head_end + len(HEAD_END) + size:
            self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was closed: {exc}")

    def _finish(self, answer: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer.partition(HEAD_END)[2])

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(UnexpectedAnswer(reason))
