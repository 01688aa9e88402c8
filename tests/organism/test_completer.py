"""context.complete() in a running organism, against a server that speaks OpenAI's protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from organism_folder import check_log, listener, running, until, write_organism

from tests.fake_llm import FakeLlm, Reply

HANDLERS = """
async def asks(payload: Ping, context: Context):
    answer = await context.complete(payload.text)
    return Reply(Pong(text=f"{answer.text} ({context.tokens}, {context.thread_tokens})"))

async def asks_and_fails(payload: Ping, context: Context):
    await context.complete(payload.text)
    raise ValueError("after the answer")

async def passes_on(payload: Ping, context: Context):
    await context.complete(payload.text)
    return Send(Ping(text=payload.text), to="asks")
"""


@pytest.fixture
async def llm():
    async with FakeLlm(Reply("Hi", usage=(10, 5))) as server:
        yield server


def organism(folder: Path, llm: FakeLlm, *listeners: dict[str, Any], **config: Any) -> Path:
    backend = {"base_url": llm.base_url, "models": ["fake-model"]}
    sections = {"llm": {"backends": [backend], "retries": 0}, **config}
    return write_organism(folder / "organism", HANDLERS, *(listeners or [listener("asks", agent=True)]), **sections)


async def test_an_answer_of_the_model_comes_back_and_its_tokens_are_counted(tmp_path, llm):
    async with running(organism(tmp_path, llm)) as it:
        accepted = await it.inject("asks", "hello")
        await it.idle()
        assert await it.texts(accepted.thread_id) == ["console>asks:hello", "asks>console:Hi (15, 15)"]
        assert (await it.thread(accepted)).tokens == {"asks": 15}
        assert it.agent("asks")["tokens"] == 15
        await check_log(it.storage)


async def test_an_agent_that_waits_for_its_model_is_shown_waiting(tmp_path, llm):
    llm.default = Reply("Hi", is_held=True)
    async with running(organism(tmp_path, llm, limits={"agent_state_interval_s": 0})) as it:
        it.watch()
        await it.inject("asks", "hello")
        await until(lambda: it.agent("asks")["state"] == "waiting")
        assert it.agent("asks")["running"] == 1
        llm.release()
        await it.idle()
        await until(lambda: it.agent("asks")["state"] == "idle")
        shown = [each.value["state"] for each in it.events() if each.kind == "agent_state"]
        assert "waiting" in shown
        assert shown[-1] == "idle"


async def test_the_model_sees_prompt_peers_history_and_raised_todos(tmp_path, llm):
    handlers = """
async def planner(payload: Ping | Pong, context: Context):
    if isinstance(payload, Ping):
        context.todo(Pong, description="the result is there")
        return Send(Ping(text="work"), to="worker")
    return Reply(Pong(text=(await context.complete("what now?")).text))

async def worker(payload: Ping, context: Context):
    return Reply(Pong(text="result"))
"""
    planner = listener("planner", agent=True, peers=["worker"], prompt="You plan.")
    path = organism(tmp_path, llm, planner, listener("worker", description="Works hard"))
    (path.parent / "handlers.py").write_text((path.parent / "handlers.py").read_text() + handlers)
    async with running(path) as it:
        await it.inject("planner", "begin")
        await it.idle()
    [request] = llm.requests
    system, *past, last = [each["content"] for each in request.body["messages"]]
    assert system.startswith("You plan.")
    assert "## worker\nWorks hard" in system
    assert "Pong has arrived: the result is there" in system
    assert [each["role"] for each in request.body["messages"]] == ["system", "user", "assistant", "user", "user"]
    assert past[0] == '[Ping from console]\n{"text":"begin"}'
    assert past[2] == '[Pong from worker]\n{"text":"result"}'
    assert last == "what now?"


async def test_a_budget_of_an_agent_stops_it_in_its_thread_with_a_clear_error(tmp_path, llm):
    one = listener("asks", agent=True, max_tokens_per_thread=20)
    async with running(organism(tmp_path, llm, one)) as it:
        first = await it.inject("asks", "1")
        for text in ("2", "3"):
            await it.idle()
            await it.inject("asks", text, first.thread_id)
        await it.idle()
        other = await it.inject("asks", "other")
        await it.idle()
        [letter] = await it.dead_letters()
        assert letter.message.thread_id == first.thread_id
        assert "BudgetExceeded" in letter.reason
        assert "'asks' in this thread" in letter.reason
        assert (await it.thread(other)).status == "completed"
    assert llm.request_count == 3


async def test_a_budget_of_a_thread_counts_all_its_agents(tmp_path, llm):
    agents = [listener("passes-on", agent=True, peers=["asks"]), listener("asks", agent=True)]
    async with running(organism(tmp_path, llm, *agents, max_tokens_per_thread=15)) as it:
        await it.inject("passes-on", "1")
        await it.idle()
        [letter] = await it.dead_letters()
    assert letter.message.recipient == "asks"
    assert "BudgetExceeded" in letter.reason


async def test_tokens_of_failed_attempts_count_too(tmp_path, llm):
    one = listener("asks-and-fails", retry={"attempts": 3, "delay_s": 0}, max_tokens_per_thread=30)
    async with running(organism(tmp_path, llm, one)) as it:
        accepted = await it.inject("asks-and-fails", "1")
        await it.idle()
        [letter] = await it.dead_letters()
        assert (await it.thread(accepted)).tokens == {"asks-and-fails": 30}
        assert it.agent("asks-and-fails")["tokens"] == 30
    assert "BudgetExceeded" in letter.reason  # the third attempt had nothing left to spend
    assert llm.request_count == 2


async def test_a_model_that_fails_is_told_in_the_dead_letter(tmp_path, llm):
    llm.default = Reply(status=500, error="out of order")
    async with running(organism(tmp_path, llm)) as it:
        await it.inject("asks", "hello")
        await it.idle()
        [letter] = await it.dead_letters()
        assert it.agent("asks")["state"] == "idle"
    assert "out of order" in letter.reason


async def test_killing_a_thread_ends_the_call_to_the_model(tmp_path, llm):
    llm.default = Reply(never_answers=True)
    async with running(organism(tmp_path, llm)) as it:
        accepted = await it.inject("asks", "hello")
        await llm.wait_until(lambda server: server.in_flight == 1)
        await it.runtime.kill_thread(accepted.thread_id)
        await llm.wait_until(lambda server: server.in_flight == 0)
        await until(lambda: it.agent("asks")["state"] == "idle")
    assert llm.abandoned_count == 1
