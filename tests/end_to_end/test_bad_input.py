"""Bad input through HAProxy, as anybody on the network could send it: told in one shape, and nobody else notices.

After each test the organism has the same processes as before, an empty list of dead letters, and still greets.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.end_to_end.up import Up
from tests.ray.launched import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

SOON_S = 20.0
MEGABYTES_10 = 10_000_000
JSON = {"content-type": "application/json"}
XML = {"content-type": "application/xml"}
STREAMS = pytest.mark.parametrize("path", ["/ws", "/ws/messages"])


def facts(hello: Up) -> dict[str, Any]:
    """What bad input must not change."""
    agents = hello.get("/api/v1/agents").json()["agents"]
    letters = hello.get("/api/v1/dead-letters").json()["total"]
    return {
        "agents": [(each["name"], each["pid"], each["restarts"], each["failed"], each["paused"]) for each in agents],
        "dead letters": letters,
        "replicas": hello.pids("ray::ServeReplica"),
        "haproxy": hello.pids("haproxy", "-db"),
    }


def greet(hello: Up, name: str = "Dan") -> None:
    """A greeting goes through the whole chain."""
    answer = hello.post("/api/v1/inject", json={"to": "greeter", "payload": {"name": name}}).raise_for_status().json()
    thread = f"/api/v1/threads/{answer['thread_id']}"
    wait_for(lambda: hello.get(thread).json()["status"] == "completed", SOON_S, "the greeting is through")


@pytest.fixture(scope="module", autouse=True)
def complete(hello: Up) -> None:
    """`up` is ready before the librarian is, whose process would count as a new one."""
    wait_for(lambda: hello.get("/api/v1/librarian/libraries").status_code == 200, SOON_S, "the librarian is up")


@pytest.fixture(autouse=True)
def undisturbed(hello: Up) -> Iterator[None]:
    before = facts(hello)
    yield
    assert hello.get("/ready").status_code == 200
    greet(hello)
    assert facts(hello) == before


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, which must have the one shape."""
    error = answer.json()["error"]
    assert set(error) - {"details"} == {"code", "message"}
    assert error["message"]
    assert "Traceback" not in answer.text
    return answer.status_code, error["code"]


def payload(name: bytes) -> bytes:
    return b'{"to": "greeter", "payload": {"name": ' + name + b"}}"


INJECTS: dict[str, tuple[bytes, tuple[int, str]]] = {
    "nothing": (b"", (400, "malformed")),
    "cut off": (b'{"to": "greeter", "payload"', (400, "malformed")),
    "an array": (b"[]", (400, "malformed")),
    "no number": (payload(b"NaN"), (400, "malformed")),
    "a number of 5,000 digits": (payload(b"9" * 5000), (400, "malformed")),
    "invalid UTF-8": (payload(b'"\xff\xfe"'), (400, "malformed")),
    "a lone surrogate": (payload(b'"\\ud800"'), (400, "malformed")),
    "UTF-16": (payload(b'"Dan"').decode().encode("utf-16"), (400, "malformed")),
    "objects 100,000 deep": (payload(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), (400, "malformed")),
    "arrays 100,000 deep, never closed": (b"[" * 100_000, (400, "malformed")),
    "wrong types": (b'{"to": 5, "payload": "x"}', (422, "invalid_request")),
    "unknown fields": (b'{"to": "greeter", "payload": {}, "from": "shouter"}', (422, "invalid_request")),
    "a payload that does not fit": (payload(b"[1, 2]"), (422, "invalid_payload")),
    "an unknown agent": (b'{"to": "nobody", "payload": {}}', (404, "not_found")),
    "an unknown thread": (b'{"to": "greeter", "payload": {"name": "x"}, "thread_id": "x"}', (404, "not_found")),
    "a payload of 1.5 MB": (payload(b'"' + b"x" * 1_500_000 + b'"'), (413, "too_large")),
    "a body of 10 MB": (payload(b'"' + b"x" * MEGABYTES_10 + b'"'), (413, "too_large")),
}


@pytest.mark.parametrize("name", INJECTS)
def test_a_bad_inject_is_refused(hello, name):
    body, expected = INJECTS[name]
    assert told(hello.post("/api/v1/inject", content=body, headers=JSON)) == expected


def test_a_body_without_announced_length_is_cut_off(hello):
    chunks = (b"x" * 100_000 for _ in range(100))
    assert told(hello.post("/api/v1/inject", content=chunks, headers=JSON)) == (413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", None])
def test_other_content_types_are_refused(hello, kind):
    headers = {} if kind is None else {"content-type": kind}
    answer = hello.post("/api/v1/inject", content=payload(b'"Dan"'), headers=headers)
    assert told(answer) == (415, "unsupported_media_type")


XMLS = {
    "cut off": b"<Greeting",
    "nested 100,000 deep": b"<a>" * 100_000,
    "a bomb of entities": b'<!DOCTYPE g [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><Greeting><name>&b;</name></Greeting>',
    "a file of ours": b'<!DOCTYPE g [<!ENTITY a SYSTEM "file:///etc/passwd">]><Greeting><name>&a;</name></Greeting>',
    "another element": b"<Farewell><name>Dan</name></Farewell>",
    "invalid UTF-8": b"<Greeting><name>\xff</name></Greeting>",
}


@pytest.mark.parametrize("name", XMLS)
def test_bad_xml_is_refused(hello, name):
    answer = hello.post("/api/v1/inject?to=greeter", content=XMLS[name], headers=XML)
    assert told(answer) == (422, "invalid_payload")
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/agents?limit=1001", (422, "invalid_request")),
        ("/api/v1/agents?limit=x", (422, "invalid_request")),
        ("/api/v1/agents?offset=-1", (422, "invalid_request")),
        ("/api/v1/agents?sort=name", (422, "invalid_request")),
        ("/api/v1/threads?status=odd", (422, "invalid_request")),
        ("/api/v1/messages?since=yesterday", (422, "invalid_request")),
        ("/api/v1/messages?after=" + "9" * 30, (422, "invalid_request")),
        ("/api/v1/agents/nobody/schema", (404, "not_found")),
        ("/api/v1/threads/%F0%9F%92%A5", (404, "not_found")),
        ("/api/v1/agents/" + "a" * 8000, (404, "not_found")),
        ("/nowhere", (404, "not_found")),
        ("/ws", (404, "not_found")),
    ],
)
def test_bad_parameters_and_unknown_things_are_told(hello, path, expected):
    assert told(hello.get(path)) == expected


# What httpx would not send


def exchange(hello: Up, sent: bytes) -> httpx.Response:
    """The answer to bytes on a connection of their own, which the server must close."""
    url = httpx.URL(hello.url)
    received = b""
    with socket.create_connection((url.host, url.port or 80), timeout=SOON_S) as connection:
        connection.sendall(sent)
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return httpx.Response(int(head.split(b" ", 2)[1]), content=body)


def request(target: str, method: str = "GET", headers: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n".encode()


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/../../etc/passwd",
        "/api/v1/agents/../../../etc/passwd",
        "/api/v1/agents/%2e%2e%2f%2e%2e%2forganism.yaml/config",
        "/api/v1/agents/..%5c..%5corganism.yaml",
        "/api/v1/agents/%00",
        "/api/v1/agents/%ff%fe",
        "/api/v1/agents/%zz",
        "//api/v1/agents",
        "/api/v1/agents/",
    ],
)
def test_tricks_with_paths_find_nothing(hello, target):
    assert told(exchange(hello, request(target))) == (404, "not_found")


@pytest.mark.parametrize("method", ["DELETE", "TRACE", "PATCH"])
def test_other_methods_are_refused(hello, method):
    assert told(exchange(hello, request("/api/v1/agents", method))) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # the beginning of TLS
        request("/api/v1/agents", headers=f"x: {'x' * 100_000}\r\n"),
        request("/api/v1/agents/" + "a" * 100_000),
        request("/api/v1/inject", "POST", "content-length: 2\r\ncontent-length: 3\r\n") + b"{}",
        request("/api/v1/inject", "POST", "content-length: -1\r\n"),
        request("/api/v1/inject", "POST", "transfer-encoding: chunked\r\n") + b"zz\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["words", "TLS", "a header of 100 kB", "a path of 100 kB", "two lengths", "a negative length", "bad chunks"],
)
def test_what_is_no_http_is_refused_by_the_proxy_in_its_own_words(hello, sent):
    assert exchange(hello, sent).status_code == 400


def test_requests_that_never_end_keep_nobody_waiting(hello):
    url = httpx.URL(hello.url)
    halves = [request("/api/v1/agents")[:-2], request("/api/v1/inject", "POST", "content-length: 100\r\n") + b"{"]
    with ExitStack() as connections:
        for half in halves * 100:
            connection = connections.enter_context(socket.create_connection((url.host, url.port or 80), SOON_S))
            connection.sendall(half)
        greet(hello)


# WebSockets


@contextmanager
def stream(hello: Up, path: str) -> Iterator[ClientConnection]:
    with connect(f"{hello.url.replace('http', 'ws')}{path}", max_size=None, proxy=None) as connection:
        yield connection


def answer_to(connection: ClientConnection, sent: str | bytes, *, text: bool | None = None) -> dict[str, Any]:
    """The ack or the error that comes back; other events pass."""
    connection.send(sent, text=text)
    while (event := orjson.loads(connection.recv(SOON_S)))["event"] not in ("ack", "error"):
        pass
    return event


FRAMES: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "malformed"),
    "no JSON": ("{", "malformed"),
    "no object": ("[]", "malformed"),
    "arrays 100,000 deep": ("[" * 100_000, "malformed"),
    "bytes": (b"\x00\xff", "malformed"),
    "JSON in a binary frame": (b'{"cmd":"ping"}', "malformed"),
    "10 MB": ("x" * MEGABYTES_10, "too_large"),
    "no command": ("{}", "invalid_request"),
    "an unknown command": ('{"cmd":"dance"}', "invalid_request"),
    "unknown fields": ('{"cmd":"ping","loud":true}', "invalid_request"),
    "wrong types": ('{"cmd":"subscribe","agents":5,"filter":5}', "invalid_request"),
}


@STREAMS
@pytest.mark.parametrize("name", FRAMES)
def test_a_bad_frame_is_answered_and_the_stream_stays(hello, path, name):
    sent, code = FRAMES[name]
    with stream(hello, path) as connection:
        answer = answer_to(connection, sent)
        assert (answer["event"], answer["code"]) == ("error", code)
        assert answer["error"]
        assert answer_to(connection, '{"cmd": "ping", "id": 7}')["id"] == 7


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"cmd": "inject", "to": "nobody", "payload": {}}, "not_found"),
        ({"cmd": "inject", "to": "greeter", "payload": {"nmae": "Dan"}}, "invalid_payload"),
        ({"cmd": "inject", "to": 1, "payload": []}, "invalid_request"),
        ({"cmd": "pause", "agent": "nobody"}, "not_found"),
        ({"cmd": "kill", "thread_id": "x"}, "not_found"),
        ({"cmd": "requeue", "message_id": "x"}, "not_found"),
        ({"cmd": "subscribe", "events": ["weather"]}, "invalid_request"),
    ],
)
def test_a_bad_command_is_answered_with_its_name_and_id(hello, command, code):
    with stream(hello, "/ws") as connection:
        answer = answer_to(connection, json.dumps({**command, "id": "mine"}))
        assert (answer["event"], answer["code"], answer["cmd"], answer["id"]) == ("error", code, command["cmd"], "mine")
        assert answer_to(connection, '{"cmd": "ping"}')["event"] == "ack"


@STREAMS
def test_text_that_is_no_utf_8_closes_the_stream(hello, path):
    with stream(hello, path) as connection, pytest.raises(ConnectionClosed) as closed:
        answer_to(connection, b"\xff\xfe", text=True)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007


@STREAMS
def test_a_frame_of_20_mb_closes_the_stream(hello, path):
    with stream(hello, path) as connection, pytest.raises(ConnectionClosed):
        answer_to(connection, "x" * 2 * MEGABYTES_10)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/ws?since=yesterday", "since: must be a seq from 0 to "),
        ("/ws?sinse=1", "sinse: "),
        ("/ws/messages?since=1", "since belongs in the filter of subscribe"),
    ],
)
def test_a_stream_with_bad_parameters_says_why_it_closes(hello, path, problem):
    with stream(hello, path) as connection:
        answer = orjson.loads(connection.recv(SOON_S))
        assert (answer["event"], answer["code"]) == ("error", "invalid_request")
        assert problem in answer["error"]
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(SOON_S)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_client_that_never_reads_disturbs_nobody(hello):
    """What it is sent fills the buffers of the system; then its further commands are not read either."""
    url = httpx.URL(hello.url)
    with socket.create_connection((url.host, url.port or 80), timeout=2.0) as deaf, stream(hello, "/ws") as other:
        deaf.sendall(upgrade("/ws"))
        for _ in range(10):
            greet(hello, "x" * 900_000)  # three messages each, of which it will not read one
        deaf.sendall(masked_frame(b'{"cmd":"ping"}') * 5000)
        with pytest.raises(TimeoutError):
            deaf.sendall(masked_frame(b"x" * 1_000_000) * 100)
        for _ in range(10):
            assert len(next_shouted(other)) > 900_000
        assert answer_to(other, '{"cmd": "ping"}')["event"] == "ack"
        greet(hello)


def next_shouted(connection: ClientConnection) -> str:
    while True:
        event = orjson.loads(connection.recv(SOON_S))
        if event["event"] == "message" and event["message"]["from"] == "shouter":
            return event["message"]["payload"]["message"]


def upgrade(path: str) -> bytes:
    key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n{key}\r\n".encode()


def masked_frame(text: bytes) -> bytes:
    """A text frame as a client sends it, with a mask of zeros."""
    return b"\x81\xff" + len(text).to_bytes(8, "big") + bytes(4) + text
