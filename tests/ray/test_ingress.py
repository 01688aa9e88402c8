"""The launcher and the API on a real Ray Serve behind HAProxy, seen from outside."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.ray.launched import Launched, wait_for, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

GONE_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def organism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    launched = Launched(write_organism(tmp_path_factory.mktemp("organisms") / "notes"))
    try:
        yield launched.wait_ready()
    finally:
        launched.end()


def test_it_says_where_it_is_and_what_to_try(organism):
    assert f"API            {organism.url}/api/v1\n" in organism.output
    assert """-d '{"to":"notes","payload":{"text":"hello"}}'""" in organism.output
    facts = orjson.loads(organism.run_file.read_bytes())
    assert facts["pid"] == organism.process.pid
    assert facts["namespace"] == "organism-notes"
    assert facts["dashboard"] in organism.output
    assert httpx.get(facts["dashboard"], trust_env=False).status_code == 200
    assert organism.get("/docs").status_code == 200


def test_what_a_handler_prints_is_shown_behind_its_name(organism):
    answer = organism.post("/api/v1/inject", json={"to": "notes", "payload": {"text": "milk"}})
    assert answer.is_success, answer.text
    wait_for(lambda: "notes | noted milk\n" in organism.output, 20.0, "the print of the handler")
    assert "Serve" not in organism.output.partition("is ready")[2]


def test_api_and_replicas_listen_where_they_are_told_to(organism):
    listening = {port: address for address, port in listening_sockets()}
    ports = [httpx.URL(organism.url).port, *range(30_000, 30_003)]
    assert {listening[port] for port in ports if port in listening} == {"127.0.0.1"}


def test_websockets_are_not_compressed(organism):
    with connect(f"{organism.url.replace('http', 'ws')}/ws", compression="deflate") as stream:
        assert stream.response is not None
        assert "Sec-WebSocket-Extensions" not in stream.response.headers
        assert orjson.loads(stream.recv(10.0))["event"] == "connected"


def test_large_messages_are_answered_and_the_stream_goes_on(organism):
    with connect(f"{organism.url.replace('http', 'ws')}/ws", max_size=None) as stream:
        stream.recv(10.0)
        stream.send("x" * 10_000_000)
        assert next_event(stream, "error")
        stream.send('{"cmd": "ping"}')
        assert next_event(stream, "ack")


def test_messages_beyond_all_limits_end_their_stream_and_no_other(organism):
    url = f"{organism.url.replace('http', 'ws')}/ws"
    with connect(url, max_size=None) as other, connect(url, max_size=None) as stream:
        with suppress(ConnectionClosed):  # it may end before all of it is sent
            stream.send("x" * 20_000_000)
        with pytest.raises(ConnectionClosed):
            next_event(stream, "ack")
        other.send('{"cmd": "ping"}')
        assert next_event(other, "ack")


def test_large_bodies_are_refused(organism):
    answer = organism.post("/api/v1/inject", content=b"x" * 10_000_000, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_a_killed_replica_is_replaced_while_requests_wait(organism):
    with connect(f"{organism.url.replace('http', 'ws')}/ws") as stream:
        stream.recv(10.0)
        before = organism.pids("ray::ServeReplica")
        organism.kill("ray::ServeReplica")
        assert organism.get("/ready").status_code == 200
        assert not set(before) & set(organism.pids("ray::ServeReplica"))
        with pytest.raises(ConnectionClosed):
            next_event(stream, "nothing has this name")


def test_a_killed_haproxy_is_replaced(organism):
    organism.kill("haproxy", "-db")
    wait_for(lambda: is_ready(organism), 30.0, "HAProxy and a replica behind it")


def test_a_second_launcher_on_the_same_storage_is_refused(organism):
    second = Launched(organism.folder)
    try:
        assert second.process.wait(90.0) == 1
        assert second.output.splitlines()[-1].startswith("organism: storage ")
        assert "in use by another organism" in second.output
        wait_for(lambda: not second.pids(), GONE_WITHIN_S, "its processes gone")
    finally:
        second.end()
    assert organism.run_file.exists()
    assert is_ready(organism)


def test_sigterm_ends_it_and_all_its_processes(organism):
    organism.process.send_signal(signal.SIGTERM)
    assert organism.process.wait(30.0) == 0
    assert not organism.run_file.exists()
    wait_for(lambda: not organism.pids(), GONE_WITHIN_S, "its processes gone")


def test_after_a_kill_it_starts_again_and_a_stop_through_the_api_ends_it(tmp_path):
    killed = Launched(write_organism(tmp_path / "notes")).wait_ready()
    again = None
    try:
        first_url = killed.url
        killed.process.kill()
        killed.process.wait()
        port = httpx.URL(first_url).port
        again = Launched(killed.folder, "--port", str(port)).wait_ready()
        assert again.url == first_url
        assert again.post("/api/v1/organism/stop").is_success
        assert again.process.wait(30.0) == 0
        wait_for(lambda: not again.pids(), GONE_WITHIN_S, "its processes gone")
    finally:
        killed.end()
        if again is not None:
            again.end()


def test_a_port_in_use_is_told_before_ray_is_started(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        launched = Launched(write_organism(tmp_path / "notes"), "--port", str(port))
        assert launched.process.wait(20.0) == 1
    assert launched.output.startswith(f"organism: cannot listen on 127.0.0.1:{port}: it is in use")
    assert len(launched.output.splitlines()) == 1


def test_an_address_without_ray_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
    launched = Launched(write_organism(tmp_path / "notes"), "--address", f"127.0.0.1:{closed}")
    assert launched.process.wait(20.0) == 1
    assert launched.output.startswith(f"organism: no Ray cluster answers at 127.0.0.1:{closed}: ")


def test_a_wrong_file_is_told(tmp_path):
    folder = write_organism(tmp_path / "notes")
    (folder / "organism.yaml").write_text("organism: {name: notes}\nlisteners: 5\n")
    launched = Launched(folder)
    assert launched.process.wait(20.0) == 1
    assert f"organism: {folder}/organism.yaml:2: listeners: " in launched.output


def is_ready(organism: Launched) -> bool:
    try:
        return organism.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def next_event(stream, name: str) -> dict[str, object]:
    while True:
        event = orjson.loads(stream.recv(10.0))
        if event["event"] == name:
            return event


def listening_sockets() -> list[tuple[str, int]]:
    """(address, port) of every IPv4 socket of this machine that listens."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [decoded(row[1]) for row in rows if row[3] == "0A"]


def decoded(address: str) -> tuple[str, int]:
    host, port = address.split(":")
    return socket.inet_ntoa(bytes.fromhex(host)[::-1]), int(port, 16)
