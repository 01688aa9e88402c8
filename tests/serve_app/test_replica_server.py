from __future__ import annotations

from typing import Any

import pytest
import uvicorn

from serve_app.head_limit import LimitedHeads
from serve_app.replica_server import DIRECT_HEADER, DirectIngress, configure_server


@pytest.fixture(autouse=True)
def original_config(monkeypatch):
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)  # put back afterwards


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"root-path", scope["root_path"].encode())]})
    await send({"type": "http.response.body", "body": b""})


async def serve(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"by", b"serve")]})
    await send({"type": "http.response.body", "body": b""})


async def answered_headers(path: str, prefix: str = "/") -> list[tuple[bytes, bytes]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any: ...

    await DirectIngress(app, serve, prefix)({"type": "http", "path": path, "root_path": ""}, receive, send)
    return sent[0]["headers"]


def configured() -> uvicorn.Config:
    return uvicorn.Config(lambda: serve, factory=True, port=1)


def test_servers_do_not_compress():
    configure_server(app, "/", max_body_bytes=1000)
    assert configured().ws_per_message_deflate is False
    assert configured().port == 1


def test_a_server_that_loads_its_application_has_ours():
    configure_server(app, "/", max_body_bytes=1000)
    config = configured()
    config.load()
    assert config.ws_protocol_class is not None
    assert config.http_protocol_class is LimitedHeads


async def test_requests_go_straight_to_the_application():
    assert await answered_headers("/ws") == [(b"root-path", b"")]


async def test_below_a_prefix_the_application_learns_of_it():
    assert await answered_headers("/second/ws", prefix="/second") == [(b"root-path", b"/second")]


async def test_serve_answers_its_own_paths():
    assert await answered_headers("/-/healthz") == [(b"by", b"serve")]


async def test_ready_tells_that_it_came_the_short_way():
    assert (DIRECT_HEADER.encode(), b"1") in await answered_headers("/second/ready", prefix="/second")
