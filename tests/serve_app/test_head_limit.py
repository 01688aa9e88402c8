from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest
import uvicorn
from conftest import served_app
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

from serve_app.head_limit import MAX_HEAD_BYTES, LimitedHeads, limit_heads

KIB = 1024
ENDLESS_BYTES = 8 * 1024 * KIB
"""More than a server takes that stops reading, and what lies in the buffers between."""

HEAD = b"GET /size HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        """Of the next answer, whose body is read, too."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.body = await self.reader.readexactly(length)
        return int(head.split()[1])

    async def sent_until_closed(self, piece: bytes) -> int:
        """Bytes that were sent before the server closed the connection."""
        sent = 0
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while sent < ENDLESS_BYTES:
                    await self.send(piece)
                    sent += len(piece)
                await self.reader.read()
        return sent


app = FastAPI()


@app.api_route("/size", methods=["GET", "POST"])
async def size(request: Request) -> int:
    return len(await request.body())


@app.get("/stream")
async def stream(request: Request) -> StreamingResponse:
    async def until_gone() -> AsyncIterator[str]:
        while not await request.is_disconnected():
            yield "piece"
            await asyncio.sleep(0.01)

    return StreamingResponse(until_gone())


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


@pytest.fixture
async def address(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)  # put back afterwards
    limit_heads()
    async with served_app(app) as address:
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield Client(reader, writer)
    writer.transport.abort()


def header(size_bytes: int) -> bytes:
    return b"X-Long: %s\r\n" % (b"a" * size_bytes)


async def test_headers_below_the_limit_are_served_again_and_again_on_one_connection(client):
    for _ in range(5):
        await client.send(HEAD + header(MAX_HEAD_BYTES - KIB) + b"\r\n")
        assert await client.status() == 200


@pytest.mark.parametrize("pieces", [1, 7])
async def test_headers_beyond_it_are_answered_431_and_the_connection_is_closed(client, pieces):
    head = HEAD + header(MAX_HEAD_BYTES) + b"\r\n"
    step = len(head) // pieces + 1
    for start in range(0, len(head), step):
        await client.send(head[start : start + step])
        await asyncio.sleep(0)
    assert await client.status() == 431
    assert b"65536 bytes" in client.body
    assert await client.reader.read() == b""


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /", b"a" * 64 * KIB),
        (HEAD + b"X-Long: ", b"a" * 64 * KIB),
        (HEAD, b"X-Short: a\r\n" * 5000),
        (CHUNKED + b"0\r\n", b"X-Trailer: a\r\n" * 5000),
    ],
    ids=["line", "header", "headers", "trailers"],
)
async def test_what_has_no_end_is_not_read(client, begin, piece):
    await client.send(begin)
    assert await client.sent_until_closed(piece) < ENDLESS_BYTES


async def test_bodies_do_not_count(client):
    body = b"a" * 300 * KIB
    await client.send(HEAD.replace(b"GET", b"POST") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (await client.status(), client.body) == (200, b"%d" % len(body))
    await client.send(CHUNKED + (b"%x\r\n%s\r\n" % (len(body), body)) * 2 + b"0\r\n\r\n")
    assert (await client.status(), client.body) == (200, b"%d" % (2 * len(body)))


async def test_a_request_that_begins_behind_a_long_body_is_served(client):
    body = b"a" * 300 * KIB
    await client.send(HEAD.replace(b"GET", b"POST") + b"Content-Length: %d\r\n\r\n" % len(body) + body + HEAD)
    assert await client.status() == 200
    await client.send(header(MAX_HEAD_BYTES // 2) + b"\r\n")
    assert await client.status() == 200


async def test_a_refusal_does_not_end_up_within_another_answer(client):
    await client.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD)
    await client.reader.readuntil(b"piece")
    await client.send(header(MAX_HEAD_BYTES + KIB))
    async with asyncio.timeout(10):
        assert b"431" not in await client.reader.read()


async def test_what_is_no_http_is_answered_400(client):
    await client.send(b"nonsense\r\n\r\n")
    assert await client.status() == 400


async def test_websockets_are_opened_and_their_messages_do_not_count(address):
    async with aiohttp.ClientSession() as http, http.ws_connect(f"http://{address}/echo") as socket:
        await socket.send_str("a" * 3 * MAX_HEAD_BYTES)
        assert len(await socket.receive_str(timeout=10)) == 3 * MAX_HEAD_BYTES


async def test_a_websockets_headers_have_the_same_limit(client):
    upgrade = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    await client.send(upgrade + header(MAX_HEAD_BYTES) + b"\r\n")
    assert await client.status() == 431


def test_serve_is_handed_no_middleware(monkeypatch):
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)
    assert limit_heads() == []
    assert uvicorn.Config("app:app").http is LimitedHeads
