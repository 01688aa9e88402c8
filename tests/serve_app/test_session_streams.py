"""Server-sent events over a real server: how they look, how they end, and what a client that leaves leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import orjson
import pytest
from conftest import served, until
from fake_organism import FakeOrganism
from fake_sessions import FakeSessions, Script

from organism.errors import OrganismUnreachable
from organism.llm.base import ModelUnavailable
from organism.sessions.events import Frame
from organism.sessions.records import NewSession
from organism.sessions.wire import Query

HEARTBEAT_S = 0.1
REQUEST_TIMEOUT_S = 0.5
MAX_CLIENTS = 3


class Told(NamedTuple):
    """One event of a stream."""

    event: dict[str, Any]
    id: str | None

    @property
    def type(self) -> str:
        return self.event["type"]


class Stream:
    """A response read once, block by block."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.blocks = self._blocks()
        self.events = self._events()

    async def _blocks(self) -> AsyncIterator[str]:
        text = ""
        async for chunk in self.response.aiter_text():
            text += chunk
            *blocks, text = text.split("\n\n")
            for block in blocks:
                yield block
        assert text == ""

    async def _events(self) -> AsyncIterator[Told]:
        async for block in self.blocks:
            if block != ": ping":
                first, *rest = block.split("\n")
                assert first.startswith("data: ")
                assert len(rest) <= 1
                yield Told(orjson.loads(first.removeprefix("data: ")), rest[0].removeprefix("id: ") if rest else None)

    async def first(self, kind: str, content: str | None = None) -> Told:
        async for told in self.events:
            if told.type == kind and content in (None, told.event.get("content")):
                return told
        raise AssertionError(f"the stream ended without {kind}")

    async def take(self, count: int) -> list[Told]:
        return [await anext(self.events) for _ in range(count)]

    async def rest(self) -> list[Told]:
        return [told async for told in self.events]


class Api(NamedTuple):
    client: httpx.AsyncClient
    session_id: str

    @asynccontextmanager
    async def ask(self, path: str = "/api/sessions/query/stream") -> AsyncIterator[Stream]:
        body = {"sessionId": self.session_id, "query": "hi"}
        async with self.client.stream("POST", path, json=body) as response:
            yield Stream(response)

    @asynccontextmanager
    async def watch(self, last_event_id: str | None = None, **params: Any) -> AsyncIterator[Stream]:
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        params = {"sessionId": self.session_id, **params}
        path = "/api/v1/sessions/events/stream"
        async with self.client.stream("GET", path, params=params, headers=headers) as response:
            yield Stream(response)


@pytest.fixture
def organism() -> FakeOrganism:
    api = {"heartbeat_s": HEARTBEAT_S, "request_timeout_s": REQUEST_TIMEOUT_S}
    return FakeOrganism(api=api, limits={"max_clients": MAX_CLIENTS})


@pytest.fixture
async def api(organism: FakeOrganism, sessions: FakeSessions) -> AsyncIterator[Api]:
    async with (
        sessions,
        served(organism, sessions) as address,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=10) as client,
    ):
        session = await sessions.create(NewSession())
        yield Api(client, session.id)
    assert sessions.followers() == 0


def gated(sessions: FakeSessions, *pieces: str) -> asyncio.Event:
    """The next run stands still behind these pieces until the event is set."""
    gate = asyncio.Event()
    sessions.scripts.append(Script(pieces, gate))
    return gate


# How a run looks


async def test_a_run_is_streamed_to_its_end(api):
    async with api.ask() as stream:
        response, told = stream.response, await stream.rest()
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"].startswith("no-cache")
    assert response.headers["x-accel-buffering"] == "no"
    assert [each.event["type"] for each in told] == [
        "user_message", "agent_run_start", "assistant_streaming_message", "assistant_streaming_message",
        "assistant_message", "agent_run_end",
    ]  # fmt: skip
    assert [each.id for each in told] == ["1", "2", None, None, "3", "4"]
    assert all(str(each.event.get("seq")) == str(each.id) for each in told)


async def test_the_query_says_that_it_is_streamed(api, sessions):
    async with api.ask() as stream:
        await stream.rest()
    assert sessions.queries[0][1].stream is True


async def test_a_failed_model_is_told_in_events_and_the_run_ends_as_any(api, sessions):
    sessions.scripts = [Script(error=ModelUnavailable("local", "cannot connect"))]
    async with api.ask() as stream:
        types = [told.type for told in await stream.rest()]
    assert types[-3:] == ["system", "assistant_message", "agent_run_end"]


async def test_an_aborted_run_ends_as_any(api, sessions):
    gated(sessions, "par", "tial")
    async with api.ask() as stream:
        await stream.first("assistant_streaming_message", "tial")
        body = {"sessionId": api.session_id}
        assert (await api.client.post("/api/sessions/abort", json=body)).json() == {"success": True}
        answer, end = [told.event for told in await stream.rest()]
    assert (answer["content"], answer["finishReason"]) == ("partial", "abort")
    assert (end["type"], end["status"]) == ("agent_run_end", "aborted")


async def test_what_comes_together_is_sent_together(api, sessions, monkeypatch):
    frames = [Frame(api.session_id, seq, "tool_call", b"{}") for seq in range(1, 100)]
    end = Frame(api.session_id, 100, "agent_run_end", b'{"type":"agent_run_end"}')
    with_run(monkeypatch, [[*frames, end]])
    async with api.ask() as stream:
        chunks = [chunk async for chunk in stream.response.aiter_raw()]
    assert len(chunks) == 1
    assert chunks[0].startswith(b"data: {}\nid: 1\n\ndata: {}\nid: 2\n\n")


# How it ends otherwise


class FakeRun:
    """A run whose batches, or errors, are given."""

    def __init__(self, items: list[list[Frame] | Exception]) -> None:
        self._items = items

    async def __aenter__(self) -> AsyncIterator[list[Frame]]:
        return self._play()

    async def __aexit__(self, *_: object) -> None:
        return None

    async def _play(self) -> AsyncIterator[list[Frame]]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            yield item


def with_run(monkeypatch: pytest.MonkeyPatch, items: list[Any]) -> None:
    monkeypatch.setattr(FakeSessions, "run", lambda *_: FakeRun(items))


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([[Frame("s", 1, "user_message", b'{"type":"user_message"}')], OrganismUnreachable("gone")], "gone"),
        ([OrganismUnreachable("gone")], "gone"),
        ([[Frame("s", 1, "user_message", b'{"type":"user_message"}')]], "deleted"),
        ([], "deleted"),
    ],
)
async def test_a_run_that_breaks_off_says_why_and_ends_as_any(api, monkeypatch, items, text):
    with_run(monkeypatch, items)
    async with api.ask() as stream:
        *_, system, end = await stream.rest()
    assert stream.response.status_code == 200
    assert (system.event["type"], system.event["level"]) == ("system", "error")
    assert text in system.event["message"]
    assert (end.event["type"], end.event["status"], end.id) == ("agent_run_end", "error", None)


async def test_a_session_that_is_deleted_meanwhile_ends_the_streams(api, sessions):
    gated(sessions, "par")
    async with api.ask() as run, api.watch(after=0) as watch:
        await run.first("assistant_streaming_message")
        await sessions.delete(api.session_id)
        assert (await run.rest())[-1].type == "agent_run_end"
        last = (await watch.rest())[-1]
        assert (last.event["type"], last.id) == ("system", None)


@pytest.mark.parametrize("path", ["/api/sessions/query/stream", "/api/v1/oneshot/query/stream"])
async def test_what_is_wrong_before_the_first_event_is_no_stream(api, sessions, path):
    answer = await api.client.post(path, json={"sessionId": api.session_id, "query": ""})
    assert answer.status_code == 400
    assert answer.json()["error"] == "query: is empty"
    sessions.fail()
    answer = await api.client.post(path, json={"sessionId": api.session_id, "query": "hi"})
    assert answer.status_code == 503


async def test_a_oneshot_stream_begins_with_its_session(api, sessions):
    async with api.ask("/api/v1/oneshot/query/stream") as stream:
        created, *rest = await stream.rest()
    assert set(created.event) == {"type", "sessionId", "timestamp"}
    assert created.event["type"] == "session_created"
    assert created.event["sessionId"] in sessions.sessions_by_id
    assert rest[0].event["type"] == "user_message"
    assert rest[-1].event["type"] == "agent_run_end"


# Following


async def test_a_watcher_gets_what_it_missed_and_then_what_happens(api, sessions):
    await sessions.ask(api.session_id, Query("hi"))
    async with api.watch(after=2) as stream:
        assert [told.id for told in await stream.take(2)] == ["3", "4"]
        await sessions.ask(api.session_id, Query("again"))
        assert [told.id for told in await stream.take(6)] == ["5", "6", None, None, "7", "8"]


@pytest.mark.parametrize(
    ("header", "params", "begins"), [("3", {}, "4"), ("3", {"after": 1}, "4"), ("", {"after": 1}, "2"), ("0", {}, "1")]
)
async def test_the_last_event_id_goes_before_the_parameter(api, sessions, header, params, begins):
    await sessions.ask(api.session_id, Query("hi"))
    async with api.watch(header, **params) as stream:
        assert (await anext(stream.events)).id == begins


async def test_without_a_position_only_what_happens_from_now_on_is_told(api, sessions):
    await sessions.ask(api.session_id, Query("hi"))
    async with api.watch() as stream:
        await until(lambda: sessions.followers() == 1)
        await sessions.ask(api.session_id, Query("again"))
        assert (await anext(stream.events)).id == "5"


@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "9" * 30, "\u0663", "1 2"])
async def test_a_position_that_is_none_is_refused(api, bad):
    answer = await api.client.get(
        "/api/sessions/events/stream",
        params={"sessionId": api.session_id},
        headers={"last-event-id": bad.encode()},
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Last-Event-ID: ")
    answer = await api.client.get("/api/sessions/events/stream", params={"sessionId": api.session_id, "after": bad})
    assert (answer.status_code, answer.json()["error"].startswith("after: ")) == (400, True)


async def test_a_quiet_stream_beats(api):
    async with api.watch() as stream:
        assert [await anext(stream.blocks) for _ in range(3)] == [": ping"] * 3


# Limits


async def test_neither_a_stream_nor_a_long_query_is_cut_by_the_request_timeout(api, sessions):
    gate = gated(sessions, "par")
    async with api.watch(after=0) as watch, api.ask() as run:
        await asyncio.sleep(2 * REQUEST_TIMEOUT_S)
        gate.set()
        assert (await run.rest())[-1].type == "agent_run_end"
        assert await watch.first("agent_run_end")
    gate = gated(sessions, "par")
    body = {"sessionId": api.session_id, "query": "hi"}
    asking = asyncio.create_task(api.client.post("/api/sessions/query", json=body))
    await asyncio.sleep(2 * REQUEST_TIMEOUT_S)
    gate.set()
    assert (await asking).json()["result"] == "par"


async def test_a_stream_that_does_not_begin_in_time_is_503(api, sessions, monkeypatch):
    class Never:
        async def __aenter__(self) -> None:
            await asyncio.Event().wait()

        async def __aexit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(FakeSessions, "run", lambda *_: Never())
    answer = await api.client.post("/api/sessions/query/stream", json={"sessionId": api.session_id, "query": "hi"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unreachable")


async def test_more_streams_than_allowed_are_refused_until_one_ends(api, sessions):
    async with api.watch(), api.watch():
        async with api.watch():
            answer = await api.client.get("/api/sessions/events/stream", params={"sessionId": api.session_id})
            assert (answer.status_code, answer.json()["code"]) == (429, "replica_busy")
            assert "retry-after" in answer.headers
        await until(lambda: sessions.followers() == 2)
        async with api.watch() as stream:
            assert stream.response.status_code == 200


# A client that leaves


@pytest.mark.parametrize("moment", ["before the first event", "between deltas", "after the last delta", "in a pause"])
async def test_a_client_that_leaves_stops_nothing_and_leaves_nothing(api, sessions, moment):
    gate = gated(sessions, "par", "tial")
    async with api.ask() as stream:
        if moment == "between deltas":
            await stream.first("assistant_streaming_message", "par")
        elif moment == "after the last delta":
            await stream.first("assistant_streaming_message", "tial")
        elif moment == "in a pause":
            while await anext(stream.blocks) != ": ping":
                pass
    await until(lambda: sessions.followers() == 0)
    assert sessions.running() == [api.session_id]
    gate.set()
    await until(lambda: not sessions.running())
    types = [frame.type for frame in await sessions.events(api.session_id, 0, 10)]
    assert types == ["user_message", "agent_run_start", "assistant_message", "agent_run_end"]
    async with api.watch("2") as stream:
        assert await stream.first("agent_run_end")


async def test_a_client_that_leaves_before_the_headers_stops_nothing(api, sessions):
    gate = gated(sessions, "par")
    host, port = api.client.base_url.host, api.client.base_url.port
    body = orjson.dumps({"sessionId": api.session_id, "query": "hi"})
    headers = f"host: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    head = f"POST /api/sessions/query/stream HTTP/1.1\r\n{headers}"
    _, writer = await asyncio.open_connection(host, port)
    writer.write(head.encode() + body)
    writer.close()
    await until(lambda: sessions.queries and sessions.followers() == 0)
    gate.set()
    await until(lambda: not sessions.running())


async def test_a_client_of_a_query_that_leaves_stops_nothing(api, sessions):
    gate = gated(sessions, "par")
    body = {"sessionId": api.session_id, "query": "hi"}
    asking = asyncio.create_task(api.client.post("/api/sessions/query", json=body))
    await until(sessions.running)
    asking.cancel()
    await asyncio.wait([asking])
    assert sessions.running() == [api.session_id]
    gate.set()
    await until(lambda: not sessions.running())
    assert len(await sessions.events(api.session_id, 0, 10)) == 4


async def test_a_hundred_streams_that_come_and_go_leave_nothing(api, sessions):
    for _ in range(100):
        async with api.watch():
            pass
    await until(lambda: sessions.followers() == 0)
    async with api.watch(), api.watch(), api.watch() as stream:
        assert stream.response.status_code == 200


# Speed


async def test_many_events_are_sent_without_much_work(api, monkeypatch):
    """Far below what is measured, so that a busy machine passes: 7,000 events a second are wanted in all."""
    body = b'{"type":"assistant_streaming_message","content":"word"}'
    batch = [Frame(api.session_id, None, "assistant_streaming_message", body)] * 10
    end = [Frame(api.session_id, 1, "agent_run_end", b'{"type":"agent_run_end"}')]
    with_run(monkeypatch, [*[batch] * 1000, end])
    started = asyncio.get_running_loop().time()
    async with api.ask() as stream:
        size = sum([len(chunk) async for chunk in stream.response.aiter_raw()])
    assert size > 10_000 * len(body)
    assert asyncio.get_running_loop().time() - started < 5
