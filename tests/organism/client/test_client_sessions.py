"""The Python client against the application, over real HTTP that breaks."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
from session_server import Fault, Script, SessionServer, serving_sessions

from organism.client import (
    ApiError,
    AsyncClient,
    BadRequest,
    Busy,
    Client,
    ClientError,
    ConnectionLost,
    Event,
    LimitReached,
    ModelFailed,
    SessionNotFound,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    UnknownEvent,
    Unreachable,
)
from organism.client.events import read_event
from organism.client.sse import SseReader
from organism.llm.base import NoModelConfigured
from organism.sessions.events import AgentRunEnd, SystemEvent

NOTES = tuple(SystemEvent(level="info", message=f"note {each}") for each in range(3))
STORED = ["user_message", "agent_run_start", *["system"] * 3, "assistant_message", "agent_run_end"]


@pytest.fixture
def server() -> Iterator[SessionServer]:
    with serving_sessions() as server:
        yield server


@pytest.fixture
async def client(server: SessionServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, reconnect_timeout_s=10) as client:
        yield client


def stored(events: list[Event]) -> list[str]:
    return [event.type for event in events if event.seq is not None]


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events if event.seq is not None]


# sessions


async def test_a_session_from_its_creation_to_its_deletion(client: AsyncClient) -> None:
    session = await client.create(name="first", tags=["a"])
    assert session.view
    assert (session.view.name, session.view.tags, session.view.active) == ("first", ("a",), True)
    assert (await session.update(name="second")).tags == ("a",)
    assert [each.id for each in (await client.list(q="second")).sessions] == [session.id]
    assert (await client.list(tag="b")) == ([], 0)
    assert (await session.set_model("local/large")).model == (await session.refresh()).model
    assert (await session.status()) == (False, "idle")
    assert (await session.restore()).id == (await client.get(session.id)).id
    assert (await session.summary([{"role": "user", "content": "hi"}])).summary == "A short title"
    assert not await session.abort()
    await session.delete()
    with pytest.raises(SessionNotFound):
        await client.get(session.id)


async def test_a_query_waits_for_the_answer(client: AsyncClient) -> None:
    session = await client.create()
    answer = await session.query("hi")
    assert (answer.text, answer.session_id) == ("Hello", session.id)
    assert answer.event
    assert answer.event.finish_reason == "stop"
    assert stored(await session.events()) == ["user_message", "agent_run_start", "assistant_message", "agent_run_end"]
    assert seqs(await session.events(after=1, limit=2)) == [2, 3]


async def test_one_request_creates_and_asks(client: AsyncClient) -> None:
    answer = await client.oneshot("hi", name="short")
    assert (answer.text, (await client.get(answer.session_id)).view.name) == ("Hello", "short")  # type: ignore[union-attr]
    events = [event async for event in client.stream_oneshot("hi")]
    assert (events[0].type, events[-1].type) == ("session_created", "agent_run_end")


async def test_the_server_tells_of_itself(client: AsyncClient) -> None:
    models = await client.models()
    assert (models.offers[0].provider, models.default and models.default.id) == ("local", "small")
    assert models.agents[0].name == "assistant"
    assert (await client.health())["status"] == "ok"
    assert await client.version()


# streams


async def test_a_stream_ends_with_the_run(client: AsyncClient) -> None:
    session = await client.create()
    events = [event async for event in session.stream("hi")]
    assert [event.type for event in events] == [
        "user_message", "agent_run_start", "assistant_streaming_message", "assistant_streaming_message",
        "assistant_message", "agent_run_end",
    ]  # fmt: skip


@pytest.mark.parametrize("cut_after", range(9))
async def test_a_stream_that_is_cut_goes_on_without_gap_or_double(
    client: AsyncClient, server: SessionServer, cut_after: int
) -> None:
    server.sessions.scripts = [Script(("one",)), Script(extra=NOTES)]
    session = await client.create()
    await session.query("hi")
    server.faults = [
        Fault("query/stream", cut_after=cut_after),
        Fault("events/stream", status=503, headers={"retry-after": "0"}),
        Fault("events/stream", repeat=True, cut_after=1),
        Fault("events/stream", repeat=True),
    ]
    events = [event async for event in session.stream("hi")]
    assert stored(events) == STORED
    assert seqs(events) == [5, 6, 7, 8, 9, 10, 11]


async def test_a_cut_oneshot_goes_on_in_its_session(client: AsyncClient, server: SessionServer) -> None:
    server.faults = [Fault("query/stream", cut_after=1)]
    events = [event async for event in client.stream_oneshot("hi")]
    assert events[0].type == "session_created"
    assert seqs(events) == [1, 2, 3, 4]


async def test_a_stream_cut_before_the_session_is_known_is_lost(client: AsyncClient, server: SessionServer) -> None:
    server.faults = [Fault("query/stream", cut_after=0)]
    with pytest.raises(ConnectionLost, match="goes on there"):
        [event async for event in client.stream_oneshot("hi")]


async def test_patience_has_an_end(server: SessionServer) -> None:
    server.faults = [Fault("query/stream", cut_after=1), *[Fault("events/stream", status=503)] * 50]
    async with AsyncClient(server.url, reconnect_timeout_s=0.3) as client:
        session = await client.create()
        with pytest.raises(Unavailable):
            [event async for event in session.stream("hi")]


async def test_a_server_that_is_silent_counts_as_lost(server: SessionServer) -> None:
    gate = asyncio.Event()
    server.sessions.scripts = [Script(gate=gate)]
    async with AsyncClient(server.url, idle_timeout_s=0.3) as client:
        session = await client.create()
        types = []
        async for event in session.stream("hi"):
            types.append(event.type)
            if len(types) == 4:
                threading.Timer(0.5, lambda: server.on_loop(gate.set)).start()
    assert types[-2:] == ["assistant_message", "agent_run_end"]
    assert any(path.endswith("events/stream") for _, path, _ in server.requests)


async def test_abort_ends_a_stream_with_its_end(client: AsyncClient, server: SessionServer) -> None:
    server.sessions.scripts = [Script(gate=asyncio.Event())]
    session = await client.create()
    events = []
    async for event in session.stream("hi"):
        events.append(event)
        if event.type == "assistant_streaming_message" and event.content == "lo":
            assert await session.abort()
    assert isinstance(events[-1], AgentRunEnd)
    assert events[-1].status == "aborted"


@pytest.mark.parametrize("after", [0, None])
async def test_watching_shows_what_others_ask_through_lost_connections(
    client: AsyncClient, server: SessionServer, after: int | None
) -> None:
    session = await client.create()
    await session.query("first")
    server.faults = [Fault("events/stream", cut_after=each) for each in (0, 1, 2)]
    expected = list(range(1 if after == 0 else 5, 9))
    found: list[Event] = []
    async with aclosing(session.watch(after)) as events, asyncio.timeout(20):
        asking: asyncio.Task[object] | None = None
        if after == 0:
            asking = asyncio.create_task(session.query("second"))
        else:
            asyncio.get_running_loop().call_later(
                0.2, lambda: threading.Thread(target=ask, args=(server, session.id)).start()
            )
        async for event in events:
            found.append(event)
            if seqs(found) and seqs(found)[-1] == 8:
                break
        if asking:
            await asking
    assert seqs(found) == expected


def ask(server: SessionServer, session_id: str) -> None:
    with Client(server.url) as client:
        client.session(session_id).query("second")


async def test_watching_ends_when_the_session_is_deleted(client: AsyncClient) -> None:
    session = await client.create()
    await session.query("hi")
    types = []
    async with asyncio.timeout(10):
        async for event in session.watch(0):
            types.append(event.type)
            if event.type == "agent_run_end":
                await session.delete()
    assert types[-1] == "system"


async def test_watching_nothing_says_so(client: AsyncClient) -> None:
    with pytest.raises(SessionNotFound):
        [event async for event in client.session("unknown").watch()]


# events


def test_an_event_of_an_unknown_type_is_told_as_it_is() -> None:
    event = read_event(b'{"id":"1","type":"from_the_future","seq":7,"timestamp":5,"more":[1]}')
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.seq, event.data["more"]) == ("from_the_future", 7, [1])


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'{"type":1}', b'{"type":"x","seq":"y"}'])
def test_what_is_no_event_breaks_no_stream(body: bytes) -> None:
    assert read_event(body) is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_blocks_are_put_together_however_they_are_split(size: int) -> None:
    text = b": ping\n\ndata: one\nid: 1\n\ndata:two\r\n\r\nevent: x\ndata: three\ndata: four\n\ndata: torn"
    reader = SseReader()
    found = [data for at in range(0, len(text), size) for data in reader.feed(text[at : at + size])]
    assert found == [b"one", b"two", b"three\nfour"]


# errors


async def test_errors_say_what_the_server_said(client: AsyncClient, server: SessionServer) -> None:
    server.sessions.scripts = [Script(gate=asyncio.Event())]
    session = await client.create()
    async with aclosing(session.stream("hi")) as events:
        async for _ in events:
            break
    with pytest.raises(Busy, match="already executing"):
        await session.query("again")
    with pytest.raises(Busy):
        [event async for event in session.stream("again")]
    await session.abort()
    with pytest.raises(BadRequest) as bad:
        await session.query([])
    assert bad.value.status == 400
    server.sessions.scripts = [Script(error=NoModelConfigured())]
    with pytest.raises(ModelFailed, match="model"):
        await session.query("hi")


async def test_limits_carry_when_to_come_back(client: AsyncClient, server: SessionServer) -> None:
    server.faults = [
        Fault("create", status=429, headers={"retry-after": "7"}, body={"error": "full", "code": "too_many_sessions"}),
        Fault("create", status=409, body={"error": "busy", "code": "exclusive", "runningSessionId": "other"}),
    ]
    with pytest.raises(LimitReached) as limit:
        await client.create()
    assert (limit.value.retry_after_s, limit.value.code, str(limit.value)) == (7.0, "too_many_sessions", "full")
    with pytest.raises(Busy) as busy:
        await client.create()
    assert busy.value.running_session_id == "other"
    assert pickle.loads(pickle.dumps(busy.value)).args == busy.value.args


async def test_where_nothing_answers_the_way_to_start_is_told() -> None:
    async with AsyncClient("http://127.0.0.1:9") as client:
        with pytest.raises(Unreachable, match="organism up"):
            await client.health()


async def test_a_server_that_is_no_organism_is_told_apart(client: AsyncClient, server: SessionServer) -> None:
    server.faults = [Fault("health", status=200, body=["hello"]), Fault("query/stream", status=200, body={"a": 1})]
    with pytest.raises(UnexpectedAnswer):
        await client.health()
    with pytest.raises(UnexpectedAnswer):
        [event async for event in client.session("x").stream("hi")]


async def test_a_slow_answer_is_waited_for_as_long_as_was_said(server: SessionServer) -> None:
    server.sessions.scripts = [Script(gate=asyncio.Event())]
    async with AsyncClient(server.url, query_timeout_s=0.2) as client:
        session = await client.create()
        with pytest.raises(TimedOut, match=r"within 0\.2 s"):
            await session.query("hi")
        await session.abort()


def test_an_address_has_to_be_one() -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        AsyncClient("localhost:8000")


# blocking


def test_the_blocking_client_does_the_same(server: SessionServer) -> None:
    with Client(server.url) as client:
        session = client.create(name="first")
        assert session.view
        assert session.view.name == "first"
        assert session.query("hi").text == "Hello"
        assert [event.type for event in session.stream("hi")][-1] == "agent_run_end"
        assert client.get(session.id).events()[-1].type == "agent_run_end"
        assert client.list().total == 1
        with session.watch(0) as events:
            assert next(iter(events)).type == "user_message"
        with pytest.raises(SessionNotFound):
            client.get("unknown")


def test_a_blocking_stream_can_be_left_while_it_waits(server: SessionServer) -> None:
    server.sessions.scripts = [Script(gate=asyncio.Event())]
    with Client(server.url) as client:
        session = client.create()
        events = session.stream("hi")
        assert next(events).type == "user_message"
        events.close()
        assert session.abort()


def test_a_closed_client_says_so_and_leaves_no_thread(server: SessionServer) -> None:
    with Client(server.url) as client:
        session = client.create()
        watching = session.watch(0)
    client.close()
    assert not any(thread.name == "organism.client" for thread in threading.enumerate())
    with pytest.raises(RuntimeError, match="closed"):
        session.query("hi")
    with pytest.raises(RuntimeError, match="closed"):
        next(watching)


def test_several_threads_share_a_blocking_client(server: SessionServer) -> None:
    answers: list[str] = []
    with Client(server.url) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.create().query("hi").text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["Hello"] * 8


def test_every_error_is_of_one_tree() -> None:
    assert issubclass(ApiError, ClientError)
    assert issubclass(Unreachable, ClientError)
