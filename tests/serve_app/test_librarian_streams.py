"""Answers of the librarian as they are written: over a real server, event by event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx
import orjson
import pytest
from conftest import served, until
from fake_librarian import FakeLibrarian
from fake_organism import FakeOrganism

from librarian.errors import AnswerFailed, LibrarianUnreachable

API = "/api/v1/librarian"
HEARTBEAT_S = 0.1


class Streams(NamedTuple):
    client: httpx.AsyncClient
    library: str

    async def blocks(self, **question: object) -> list[str]:
        answer = await self.client.post(f"{self.library}/query/stream", json={"question": "hello", **question})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text.endswith("\n\n")
        return answer.text.removesuffix("\n\n").split("\n\n")

    async def events(self, **question: object) -> list[dict[str, object]]:
        return [orjson.loads(each.removeprefix("data: ")) for each in await self.blocks(**question) if each != ": ping"]


@pytest.fixture
async def streams(librarian: FakeLibrarian) -> AsyncIterator[Streams]:
    organism = FakeOrganism(api={"heartbeat_s": HEARTBEAT_S, "request_timeout_s": 0.3})
    async with (
        served(organism, librarian=librarian) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        made = await client.post(f"{API}/libraries", json={"git_url": "https://example.org/greeter.git"})
        yield Streams(client, f"{API}/libraries/{made.json()['library_id']}")


async def test_sources_come_first_then_the_text_then_the_whole_answer(streams):
    events = await streams.events()
    assert [each["type"] for each in events] == ["sources", "delta", "delta", "delta", "answer"]
    assert events[0]["sources"] == events[-1]["sources"]
    whole = (await streams.client.post(f"{streams.library}/query", json={"question": "hello"})).json()
    assert {**whole, "type": "answer"} == events[-1]


async def test_what_is_wrong_with_the_question_has_a_status(streams):
    path = f"{streams.library}/query/stream"
    unknown = await streams.client.post(path, json={"question": "hello", "model": "grok-4.1"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "unknown_model")
    missing = await streams.client.post(f"{API}/libraries/nowhere/query/stream", json={"question": "hello"})
    assert missing.status_code == 404


@pytest.mark.parametrize("error", [AnswerFailed("small", "it broke off"), LibrarianUnreachable("it was killed")])
async def test_an_answer_that_breaks_off_says_why(streams, librarian, error):
    librarian.breaks_off = error
    events = await streams.events()
    assert [each["type"] for each in events] == ["sources", "delta", "error"]
    assert events[-1] == {"type": "error", "code": error.code, "message": str(error)}


async def test_a_slow_answer_is_kept_alive_and_may_take_its_time(streams, librarian):
    librarian.gate.clear()
    heard: list[str] = []
    async with streams.client.stream("POST", f"{streams.library}/query/stream", json={"question": "hello"}) as response:
        async for line in response.aiter_lines():
            heard.append(line)
            if heard.count(": ping") == 5:
                librarian.gate.set()
    assert heard.count(": ping") >= 5
    assert orjson.loads(heard[-2].removeprefix("data: "))["type"] == "answer"


async def test_a_client_that_leaves_ends_the_writing(streams, librarian):
    librarian.gate.clear()
    async with streams.client.stream("POST", f"{streams.library}/query/stream", json={"question": "hello"}) as response:
        await anext(response.aiter_lines())
        assert librarian.writing == 1
    await until(lambda: librarian.writing == 0)
