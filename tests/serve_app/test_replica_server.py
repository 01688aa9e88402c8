from __future__ import annotations

from typing import Any

import pytest
import uvicorn

from serve_app.replica_server import DIRECT_HEADER, MIN_MESSAGE_BYTES, DirectIngress, configure_websockets


@pytest.fixture(autouse=True)
def original_config(monkeypatch):
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)  # put back afterwards


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": scope["headers"]})
    await send({"type": "http.response.body", "body": b""})


async def answered_headers(**scope: Any) -> list[tuple[bytes, bytes]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any: ...

    await DirectIngress(echo)({"headers": [(b"a", b"b")], **scope}, receive, send)
    return sent[0]["headers"]


def test_servers_do_not_compress_and_take_large_messages():
    configure_websockets(max_body_bytes=50_000_000)
    config = uvicorn.Config(lambda: echo, factory=True, port=1)
    assert config.ws_per_message_deflate is False
    assert config.ws_max_size == 50_000_000
    assert config.port == 1


def test_a_message_that_is_a_little_too_large_still_reaches_the_application():
    configure_websockets(max_body_bytes=1000)
    assert uvicorn.Config(lambda: echo, factory=True).ws_max_size == MIN_MESSAGE_BYTES


def test_the_application_is_wrapped():
    configure_websockets(max_body_bytes=1000)
    config = uvicorn.Config(lambda: echo, factory=True)
    config.load()
    assert config.ws_protocol_class is not None


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_requests_are_read_by_the_application_itself(kind):
    assert (b"x-request-disconnect-disabled", b"?1") in await answered_headers(type=kind, path="/ws")


async def test_ready_tells_that_it_came_the_short_way():
    assert (DIRECT_HEADER.encode(), b"1") in await answered_headers(type="http", path="/second/ready")
