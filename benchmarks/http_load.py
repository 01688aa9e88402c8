"""A load client for HTTP/1.1 that costs little, since it shares the machine with the server it measures.

Each connection is kept alive and has one request under way. Only what a keep-alive client needs is read of an
answer: its status and its Content-Length.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


class UnexpectedAnswer(Exception):
    """The server did not do what was asked for; the text is the beginning of its answer."""


def request_bytes(method: str, path: str, host: str, body: bytes = b"", *, key: str = "") -> bytes:
    """A whole request; a body is JSON. key: an API key, where one is needed."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n" + key_header(key)
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def key_header(key: str) -> str:
    return f"X-API-Key: {key}\r\n" if key else ""


async def requests_per_s(host: str, port: int, request: bytes, *, connections: int, duration_s: float) -> float:
    """Sends `request` over and over; answers other than 200 raise.

    Raises:
        UnexpectedAnswer: another status, or a connection that the server closed.
    """
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Connection(request), host, port) for _ in range(connections)]
    clients = [client for _, client in opened]
    started_s = time.perf_counter()
    for client in clients:
        client.start()
    await asyncio.wait([client.failed for client in clients], timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
    elapsed_s = time.perf_counter() - started_s
    for transport, client in opened:
        if client.failed.done():
            client.failed.result()
        client.failed.cancel()  # it is not a failure any more that the connection closes
        transport.close()
    return sum(client.answered for client in clients) / elapsed_s


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.answered = 0
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        assert self._transport is not None
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer = answer = self._buffer + data if self._buffer else data
        head_end = answer.find(HEAD_END)
        if head_end < 0:
            return
        length_at = answer.lower().find(LENGTH, 0, head_end) + len(LENGTH)
        body_bytes = int(answer[length_at : answer.index(b"\r", length_at)])
        if len(answer) < head_end + len(HEAD_END) + body_bytes:
            return
        if not answer.startswith(b"HTTP/1.1 200"):
            self._fail(answer[:500].decode(errors="replace"))
            return
        self.answered += 1
        self._buffer = b""
        self.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was closed: {exc}")

    def _fail(self, reason: str) -> None:
        if not self.failed.done():
            self.failed.set_exception(UnexpectedAnswer(reason))
