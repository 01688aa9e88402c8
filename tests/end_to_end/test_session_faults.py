"""Kill -9 below a running `organism up` while sessions stream; what their clients see, and what is stored then."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.session_organism import organism_yaml
from tests.end_to_end.talk import check_stored, eventually, talking, types
from tests.end_to_end.up import Up
from tests.fake_llm import FakeLlm, Reply

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

WORDS = " ".join(f"w{number}" for number in range(60))
SLOW = Reply(text=WORDS, chunk_delay_s=0.05)  # three seconds
SETTINGS = {"isolation": "shared", "shared_cells": 1}


@pytest.fixture
async def llm() -> AsyncIterator[FakeLlm]:
    async with FakeLlm(Reply(text="Hello there.")) as llm:
        yield llm


@pytest.fixture
def settings() -> dict[str, Any]:
    return SETTINGS


@pytest.fixture
def folder(tmp_path: Path, llm: FakeLlm, settings: dict[str, Any]) -> Path:
    (tmp_path / "organism.yaml").write_text(organism_yaml(llm, settings))
    return tmp_path


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    up = Up(folder, "--port", "0")
    try:
        yield up.wait_ready()
    finally:
        up.end()


async def test_a_killed_cell_ends_its_run_truthfully_and_the_session_is_usable_at_once(up, llm):
    llm.script(SLOW)
    async with talking(up) as talk:
        seen: list[dict[str, Any]] = []
        watching = asyncio.create_task(talk.watch(seen))
        async with talk.streaming("a story") as events:
            streamed = [await anext(events) for _ in range(12)]
            up.kill("ray::SessionCell")
            streamed += [event async for event in events]
        assert (streamed[-1]["type"], streamed[-1]["status"]) == ("agent_run_end", "error")
        answer = await talk.post("query", query="still there?")
        assert (answer.status_code, answer.json()["result"]) == (200, "Hello there.")
        stored = await talk.stored()
        check_stored(stored)
        told = [event["message"] for event in stored if event["type"] == "system"]
        assert len(told) == 1
        assert "killed or crashed" in told[0]
        await eventually(_all_seen(seen, len(stored)), "the watcher has all")
        watching.cancel()
        assert seen == stored


def kill_everything(up: Up) -> None:
    up.process.kill()
    up.kill()


def _all_seen(seen: list[Any], count: int) -> Any:
    async def all_seen() -> bool:
        return len(seen) >= count

    return all_seen


async def test_a_run_goes_on_while_the_pump_is_killed(up, llm):
    llm.script(SLOW)
    async with talking(up) as talk:
        async with talk.streaming("a story") as events:
            streamed = [await anext(events) for _ in range(12)]
            up.kill("ray::PumpActor")
            streamed += [event async for event in events]
        assert (streamed[-1]["type"], streamed[-1]["status"]) == ("agent_run_end", "idle")
        text = "".join(event["content"] for event in streamed if event["type"] == "assistant_streaming_message")
        assert text == WORDS
        check_stored(await talk.stored())
        assert (await talk.post("query", query="and now?")).status_code == 200


async def test_a_watcher_resumes_when_its_replica_is_killed_and_the_run_goes_on(up, llm):
    llm.script(SLOW)
    async with talking(up) as talk:
        seen: list[dict[str, Any]] = []
        watching = asyncio.create_task(talk.watch(seen))
        with pytest.raises(httpx.TransportError):
            await talk.stream_and("a story", lambda: up.kill("ray::ServeReplica"))
        await eventually(_has_ended(seen), "the run's end is seen")
        watching.cancel()
        stored = await talk.stored()
        check_stored(stored)
        assert seen == stored
        assert next(event for event in stored if event["type"] == "assistant_message")["content"] == WORDS


def _has_ended(seen: list[dict[str, Any]]) -> Any:
    async def has_ended() -> bool:
        return "agent_run_end" in types(seen)

    return has_ended


async def test_after_a_kill_of_everything_the_session_goes_on_where_it_was(up, llm, folder):
    async with talking(up) as talk:
        assert (await talk.post("query", query="remember me")).status_code == 200
        llm.script(SLOW)
        with pytest.raises(httpx.TransportError):
            await talk.stream_and("a story", lambda: kill_everything(up))
        session_id = talk.id
    up.process.wait()
    again = Up(folder, "--port", "0")
    try:
        again.wait_ready()
        async with talking(again) as talk:
            talk.id = session_id
            answer = await talk.post("query", query="who am I?")
            assert answer.status_code == 200, answer.text
            stored = await talk.stored()
            check_stored(stored)
            ends = [event["status"] for event in stored if event["type"] == "agent_run_end"]
            assert ends == ["idle", "error", "idle"]
            asked = [message["content"] for message in llm.requests[-1].body["messages"] if message["role"] == "user"]
            assert asked == ["remember me", "a story", "who am I?"]
    finally:
        again.end()


@pytest.mark.parametrize("settings", [{**SETTINGS, "idle_timeout_s": 0.5}])
async def test_a_hundred_requests_bring_a_stored_session_back_once(up, llm):
    async with talking(up) as talk:
        assert (await talk.post("query", query="hi")).status_code == 200

        async def is_stored() -> bool:
            return not (await talk.post("details")).json()["session"]["active"]

        await eventually(is_stored, "the session is only stored")
        llm.script(Reply(text="Only once.", first_byte_delay_s=1.0))
        answers = await asyncio.gather(*(talk.post("query", query="wake up") for _ in range(100)))
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 99}
        stored = await talk.stored()
        check_stored(stored)
        assert types(stored).count("user_message") == 2
