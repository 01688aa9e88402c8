"""WebSocket clients for measuring that cost little: they walk over frames instead of decoding them.

`Injector` keeps many commands under way on one connection; `Follower` checks that every message of the log comes
exactly once and in order.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import time
from collections.abc import Callable
from typing import cast

from benchmarks.http_load import key_header

HEAD_END = b"\r\n\r\n"
TEXT, PING, PONG = 0x81, 0x89, 0x8A
SMALL_BYTES = 125
MASKED = 0x80
NO_MASK = b"\0\0\0\0"
"""Masking with zeros changes nothing, and is allowed: the key is the client's choice."""

ACK = b'{"event":"ack",'
ERROR = b'{"event":"error",'
HEARTBEAT = b'{"event":"heartbeat",'
MESSAGE = b'{"event":"message","seq":'

OnFrame = Callable[[bytes, int, int], None]
"""Gets a buffer, and where the text of one frame begins and ends in it."""


class BrokenStream(Exception):
    """The stream ended, or brought something else than it should; the text says what."""


class WebSocketClient(asyncio.Protocol):
    """Opens a WebSocket and hands on the text frames. `failed` ends with BrokenStream when the stream does."""

    def __init__(
        self, host: str, path: str, on_frame: OnFrame, on_chunk_end: Callable[[], None], api_key: str = ""
    ) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{key_header(api_key)}\r\n"
        ).encode()
        self._on_frame = on_frame
        self._on_chunk_end = on_chunk_end
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(f"the connection was closed: {exc}")

    def send(self, frames: bytes) -> None:
        assert self._transport is not None
        self._transport.write(frames)

    def close(self) -> None:
        self.failed.cancel()
        if self._transport is not None:
            self._transport.abort()

    def fail(self, reason: str) -> None:
        for future in (self.opened, self.failed):
            if not future.done():
                future.set_exception(BrokenStream(reason))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self.opened.done():
            buffer = self._read_answer(buffer)
        self._buffer = self._read_frames(buffer) if self.opened.done() else buffer

    def _read_answer(self, buffer: bytes) -> bytes:
        head_end = buffer.find(HEAD_END)
        if head_end < 0:
            return buffer
        if buffer.startswith(b"HTTP/1.1 101"):
            self.opened.set_result(None)
        else:
            self.fail(buffer[:500].decode(errors="replace"))
        return buffer[head_end + len(HEAD_END) :]

    def _read_frames(self, buffer: bytes) -> bytes:
        """Hands on the whole frames in the buffer and returns the rest."""
        at, size = 0, len(buffer)
        while size - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length > SMALL_BYTES:
                width = 2 if length == SMALL_BYTES + 1 else 8
                length = int.from_bytes(buffer[start : start + width])
                start += width
            end = start + length
            if end > size:
                break
            if buffer[at] == TEXT:
                self._on_frame(buffer, start, end)
            elif buffer[at] == PING:
                self.send(_frame(PONG, buffer[start:end]))
            else:
                self.fail(f"a frame of kind {buffer[at]:#x}: {buffer[start:end][:200]!r}")
            at = end
        self._on_chunk_end()
        return buffer[at:]


def text_frame(content: bytes) -> bytes:
    return _frame(TEXT, content)


def _frame(kind: int, content: bytes) -> bytes:
    """A frame as clients send it."""
    size = len(content)
    if size <= SMALL_BYTES:
        head = struct.pack("!BB", kind, MASKED | size)
    else:
        head = struct.pack("!BBH", kind, MASKED | (SMALL_BYTES + 1), size)
    return head + NO_MASK + content


async def connect(client: WebSocketClient, host: str, port: int) -> None:
    """Returns when the server has taken the stream."""
    await asyncio.get_running_loop().create_connection(lambda: client, host, port)
    await client.opened


class Injector:
    """Sends a command again and again, up to `window` of them without an answer."""

    def __init__(self, host: str, window: int, api_key: str = "") -> None:
        self._window = window
        self._frame = b""
        self._left = 0
        self._under_way = 0
        self._acks_in_chunk = 0
        self._acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.client = WebSocketClient(host, "/ws", self._on_frame, self._on_chunk_end, api_key)

    async def run(self, command: bytes, count: int) -> float:
        """Returns the seconds until the last of `count` commands is acknowledged."""
        started_s = time.perf_counter()
        self._acknowledged = asyncio.get_running_loop().create_future()
        self._frame, self._left = _frame(TEXT, command), count
        self._send_more()
        await asyncio.wait([self._acknowledged, self.client.failed], return_when=asyncio.FIRST_COMPLETED)
        if self.client.failed.done():
            self.client.failed.result()
        return time.perf_counter() - started_s

    def _send_more(self) -> None:
        more = min(self._window - self._under_way, self._left)
        if more > 0:
            self._left -= more
            self._under_way += more
            self.client.send(self._frame * more)

    def _on_frame(self, buffer: bytes, start: int, end: int) -> None:
        if buffer.startswith(ACK, start):
            self._acks_in_chunk += 1
        elif buffer.startswith(ERROR, start):
            self.client.fail(buffer[start:end].decode())

    def _on_chunk_end(self) -> None:
        self._under_way -= self._acks_in_chunk
        self._acks_in_chunk = 0
        self._send_more()
        if self._under_way == 0 and not self._acknowledged.done():
            self._acknowledged.set_result(None)


class Follower:
    """Receives the messages of the log, and fails at the first that is lost, doubled or out of order.

    last_seq: of the message that came last, 0 before the first. received: how many came.
    """

    SUBSCRIBE = b'{"cmd":"subscribe","events":["message"]}'

    def __init__(self, host: str) -> None:
        self.last_seq = 0
        self.received = 0
        self._subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.client = WebSocketClient(host, "/ws", self._on_frame, lambda: None)

    async def subscribe(self) -> None:
        """Messages alone, of the events that there are."""
        self.client.send(_frame(TEXT, self.SUBSCRIBE))
        await self._subscribed

    def check(self) -> None:
        """Raises what broke the stream, if anything did."""
        if self.client.failed.done():
            self.client.failed.result()

    def _on_frame(self, buffer: bytes, start: int, end: int) -> None:
        if buffer.startswith(MESSAGE, start):
            seq_at = start + len(MESSAGE)
            seq = int(buffer[seq_at : buffer.index(b",", seq_at)])
            if self.last_seq and seq != self.last_seq + 1:
                self.client.fail(f"message {seq} came after message {self.last_seq}")
            self.last_seq = seq
            self.received += 1
        elif buffer.startswith(ACK, start):
            self._subscribed.set_result(None)
        elif self._subscribed.done() and not buffer.startswith(HEARTBEAT, start):
            self.client.fail(buffer[start:end].decode())
