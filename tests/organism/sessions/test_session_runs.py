"""Runs of a session in its cell, against a model over real HTTP, and a storage that fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from session_pump import FakeLink, FakeToolset, Follower, FunctionTool, cell_spec, scripted, served

from organism.config import LlmSection
from organism.errors import (
    InvalidQuery,
    RunInterrupted,
    ServerExclusive,
    SessionBusy,
    StorageUnavailable,
    TokensSpent,
    TooManyRuns,
)
from organism.llm.base import BudgetExceeded, ModelError, NoModelConfigured
from organism.sessions import session_cell
from organism.sessions.records import SessionChanges
from organism.sessions.session_cell import SessionCell
from organism.sessions.wire import Query, SessionNotHere
from tests.fake_llm import FakeLlm, Reply

BEGINNING = ["user_message", "agent_run_start"]
HELD = Reply(text="one two three", hangs_after=3)


@asynccontextmanager
async def opened(
    folder: Path,
    link: FakeLink,
    llm: LlmSection,
    *tools: FunctionTool,
    agent: dict[str, Any] | None = None,
    **sessions: Any,
) -> AsyncGenerator[SessionCell]:
    async def open_toolset(*_: Any) -> FakeToolset:
        return FakeToolset(*tools)

    spec = cell_spec(folder, llm, agent, **sessions)
    failures: list[BaseException] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_cell, "open_toolset", open_toolset)
        cell = SessionCell(spec, link, failures.append)
        await cell.open()
    cell.start()
    try:
        async with asyncio.timeout(20):
            yield cell
    finally:
        await cell.close()
    assert failures == []


@pytest.fixture
async def link() -> FakeLink:
    link = FakeLink()
    link.create()
    return link


@pytest.fixture
async def llm():
    async with FakeLlm() as llm:
        yield llm


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is about what the fakes hold, which have no events
            await asyncio.sleep(0.005)


async def test_a_run_tells_its_events_in_the_order_of_the_contract(tmp_path, link, llm):
    llm.script(Reply(text="Hello there.", thinking="Let me think."))
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        follower = Follower(cell)
        assert (await cell.begin("s", Query("Hi", stream=True, id="q1"), follower.name)).seq == 1
        await follower.until_end()
    assert follower.types == [
        *BEGINNING,
        *["assistant_streaming_thinking_message"] * 4,
        "assistant_thinking_message",
        *["assistant_streaming_message"] * 3,
        "assistant_message",
        "agent_run_end",
    ]
    events = [orjson.loads(frame.body) for frame in follower.frames]
    assert [each["seq"] for each in events if "seq" in each] == [1, 2, 3, 4, 5]
    assert events[0]["id"] == "q1"
    assert events[1]["runOptions"] == {"input": "Hi", "stream": True}
    assert [each["isComplete"] for each in events[2:6]] == [False, False, False, True]
    message = events[-2]
    assert message["content"] == "Hello there."
    assert message["finishReason"] == "stop"
    assert message["ttftMs"] <= message["ttltMs"]
    assert {each["messageId"] for each in events[2:-1]} == {message["messageId"]}
    assert events[-1]["status"] == "idle"
    assert events[-1]["usage"] == {"inputTokens": 10, "outputTokens": 5}
    assert link.types() == [*BEGINNING, "assistant_thinking_message", "assistant_message", "agent_run_end"]
    assert not link.records["s"].is_running
    assert (link.records["s"].input_tokens, link.records["s"].output_tokens) == (10, 5)


async def test_tools_of_one_turn_run_side_by_side_and_their_events_stay_whole(tmp_path, link, llm):
    both = asyncio.Barrier(2)

    async def meet(name: str) -> str:
        await both.wait()
        return f"{name} met"

    llm.script(Reply(text="", tool_calls=(("meet", '{"name": "a"}'), ("meet", '{"name": "b"}'))), Reply(text="Done."))
    async with opened(tmp_path, link, served(llm.base_url), FunctionTool("meet", meet)) as cell:
        follower = Follower(cell)
        await cell.begin("s", Query("Meet"), follower.name)
        await follower.until_end()
    deltas = [orjson.loads(each.body) for each in follower.frames if each.type == "assistant_streaming_tool_call"]
    for call in ("call_0", "call_1"):
        own = [each for each in deltas if each["toolCallId"] == call]
        assert orjson.loads("".join(each["arguments"] for each in own))["name"] in "ab"
        assert [each["isComplete"] for each in own] == [False] * (len(own) - 1) + [True]
    stored = link.types()
    assert stored[:3] == [*BEGINNING, "assistant_message"]
    assert sorted(stored[3:7]) == ["tool_call", "tool_call", "tool_result", "tool_result"]
    assert stored[7:] == ["assistant_message", "agent_run_end"]
    assert {each["content"] for each in link.events(kind="tool_result")} == {"a met", "b met"}
    assert [each["role"] for each in llm.requests[1].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]


async def test_calls_with_the_same_id_in_two_turns_keep_their_own_results(tmp_path, link, llm):
    async def echo(text: str) -> str:
        return text

    llm.script(
        Reply(text="", tool_calls=(("echo", '{"text": "first"}'),)),
        Reply(text="", tool_calls=(("echo", '{"text": "second"}'),)),
        Reply(text="Done."),
    )
    async with opened(tmp_path, link, served(llm.base_url), FunctionTool("echo", echo)) as cell:
        await cell.ask("s", Query("Echo"))
    told = [each["content"] for each in llm.requests[2].body["messages"] if each["role"] == "tool"]
    assert told == ["first", "second"]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("nothing", "{}", "no tool 'nothing'"),
        ("add", '{"a": "x"}', "a: 'x' is not of type 'integer'"),
        ("add", "{broken", "no JSON object"),
        ("add", '{"a": 13}', "ValueError: unlucky"),
    ],
)
async def test_what_goes_wrong_with_a_call_is_told_to_the_model(tmp_path, link, llm, name, arguments, reason):
    async def add(a: int) -> int:
        raise ValueError("unlucky")

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    llm.script(Reply(text="", tool_calls=((name, arguments),)), Reply(text="Sorry."))
    async with opened(tmp_path, link, served(llm.base_url), FunctionTool("add", add, schema)) as cell:
        answered = await cell.ask("s", Query("Add"))
    assert (answered.result, answered.status, answered.error) == ("Sorry.", "idle", None)
    (result,) = link.events(kind="tool_result")
    assert reason in result["error"]
    assert "Traceback" not in result["error"]
    assert reason in llm.requests[1].body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(status=429, retry_after_s=90), ""),
        (Reply(status=500), ""),
        (Reply(text="one two three", breaks_after=3), "one two"),
        (Reply(text="one two three", malformed_after=3), "one two"),
    ],
    ids=["429", "500", "breaks", "malformed"],
)
async def test_when_the_model_fails_the_run_ends_with_what_came(tmp_path, link, llm, reply, text):
    llm.script(reply)
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        answered = await cell.ask("s", Query("Hi"))
        assert isinstance(answered.error, ModelError)
        assert (answered.status, answered.result) == ("error", text)
        partial = ["assistant_message"] if text else []
        assert link.types() == [*BEGINNING, *partial, "system", "agent_run_end"]
        assert link.events()[-1]["status"] == "error"
        assert [each["finishReason"] for each in link.events(kind="assistant_message")] == ["error"] * len(partial)
        assert (await cell.status("s")).state == "error"


async def test_a_silent_model_is_a_timeout(tmp_path, link, llm):
    llm.script(Reply(never_answers=True))
    async with opened(tmp_path, link, served(llm.base_url, timeout_s=0.2)) as cell:
        answered = await cell.ask("s", Query("Hi"))
    assert answered.error is not None
    assert answered.error.code == "model_timeout"


async def test_without_a_model_the_run_says_how_to_add_one(tmp_path, link):
    async with opened(tmp_path, link, LlmSection()) as cell:
        answered = await cell.ask("s", Query("Hi"))
    assert isinstance(answered.error, NoModelConfigured)
    assert link.types() == [*BEGINNING, "system", "agent_run_end"]
    assert "llm:" in link.events(kind="system")[0]["message"]


async def test_a_run_that_takes_too_many_turns_is_stopped(tmp_path, link, llm):
    async def again() -> str:
        return "again"

    llm.default = Reply(text="Once more.", tool_calls=(("again", "{}"),))
    agent = {"max_iterations": 2}
    async with opened(tmp_path, link, served(llm.base_url), FunctionTool("again", again), agent=agent) as cell:
        answered = await cell.ask("s", Query("Go"))
    assert (answered.status, answered.error) == ("idle", None)
    assert link.types()[-3:] == ["system", "assistant_message", "agent_run_end"]
    assert link.events()[-3]["level"] == "warning"
    assert link.events()[-2]["finishReason"] == "max_iterations"
    assert link.events()[-1]["iterations"] == 2


@pytest.mark.parametrize("limit", ["max_tokens_per_run", "max_tokens_per_session"])
async def test_a_run_ends_when_its_tokens_are_used_up(tmp_path, link, llm, limit):
    async def again() -> str:
        return "again"

    llm.default = Reply(text="", tool_calls=(("again", "{}"),))
    async with opened(tmp_path, link, served(llm.base_url), FunctionTool("again", again), agent={limit: 20}) as cell:
        answered = await cell.ask("s", Query("Go"))
    assert isinstance(answered.error, BudgetExceeded)
    assert (link.events()[-2]["type"], link.events()[-2]["level"]) == ("system", "error")
    assert (link.events()[-1]["status"], link.events()[-1]["iterations"]) == ("error", 2)


async def test_a_run_that_takes_too_long_is_ended(tmp_path, link, llm):
    llm.script(HELD)
    async with opened(tmp_path, link, served(llm.base_url), agent={"timeout_s": 1.0}) as cell:
        answered = await cell.ask("s", Query("Go"))
    assert answered.status == "error"
    assert answered.error is not None
    assert answered.error.code == "run_timeout"
    assert answered.result == "one two"
    assert link.events(kind="assistant_message")[0]["finishReason"] == "error"


# Abort


async def test_an_abort_keeps_the_partial_text_and_a_new_query_may_begin(tmp_path, link, llm):
    llm.script(HELD, Reply(text="Fine."))
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        follower = Follower(cell)
        await cell.begin("s", Query("Hi"), follower.name)
        await follower.until(lambda each: each.types.count("assistant_streaming_message") == 2)
        with pytest.raises(SessionBusy):
            await cell.begin("s", Query("Again"))
        assert await cell.abort("s")
        assert link.types() == [*BEGINNING, "assistant_message", "agent_run_end"]
        assert (link.events()[2]["content"], link.events()[2]["finishReason"]) == ("one two", "abort")
        assert link.events()[3]["status"] == "aborted"
        assert link.events()[3]["usage"]["inputTokens"] > 0  # estimated: no endpoint tells what half an answer costs
        assert link.records["s"].tokens == sum(link.events()[3]["usage"].values())
        assert (await cell.status("s")).state == "aborted"
        await llm.wait_until(lambda each: each.abandoned_count == 1)
        assert (await cell.ask("s", Query("Again"))).result == "Fine."
        assert not await cell.abort("s")
    assert [each["content"] for each in llm.requests[1].body["messages"]] == ["Be brief.", "Hi", "one two", "Again"]


async def test_an_abort_ends_tools_even_those_that_do_not_listen(tmp_path, link, llm, monkeypatch):
    monkeypatch.setattr("organism.sessions.agent_loop.TOOL_GRACE_S", 0.05)
    told, deaf_is_over = asyncio.Event(), asyncio.Event()

    async def good() -> str:
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            told.set()

    async def deaf() -> str:
        while not deaf_is_over.is_set():
            try:
                await deaf_is_over.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    llm.script(Reply(text="", tool_calls=(("good", "{}"), ("deaf", "{}"))))
    async with opened(
        tmp_path, link, served(llm.base_url), FunctionTool("good", good), FunctionTool("deaf", deaf)
    ) as cell:
        follower = Follower(cell)
        await cell.begin("s", Query("Hi"), follower.name)
        await follower.until(lambda each: each.types.count("tool_call") == 2)
        assert await cell.abort("s")
        assert told.is_set()
        ended = link.types()
        deaf_is_over.set()  # it ends, and its result is told to nobody
        await cell.change("s", _changes("later"))
        assert link.types() == ended
    assert ended[-3:] == ["tool_result", "tool_result", "agent_run_end"]
    assert all("abort" in each["error"] for each in link.events(kind="tool_result"))


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_whenever_an_abort_comes_there_is_one_end_and_it_is_the_last_event(tmp_path, link, turns):
    async with opened(tmp_path, link, scripted("one two three four")) as cell:
        begun = asyncio.create_task(cell.begin("s", Query("Hi")))
        for _ in range(turns):
            await asyncio.sleep(0)
        await cell.abort("s")
        await asyncio.gather(begun, return_exceptions=True)
        await cell.abort("s")
        await until(lambda: link.types().count("agent_run_end") == link.types().count("user_message"))
        assert link.types().count("agent_run_end") <= 1
        assert (await cell.ask("s", Query("Again"))).status == "idle"
    assert link.types()[-1] == "agent_run_end"
    assert not link.records["s"].is_running


# Storing


async def test_the_model_is_asked_while_the_beginning_is_being_stored(tmp_path, link, llm):
    link.gate.clear()
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        follower = Follower(cell)
        begun = asyncio.create_task(cell.begin("s", Query("Hi"), follower.name))
        await llm.wait_until(lambda each: each.request_count == 1 and each.in_flight == 0)
        await follower.poll(0.05)
        assert follower.frames == []
        assert not begun.done()
        link.gate.set()
        await follower.until_end()
    assert follower.types.index("agent_run_start") < follower.types.index("assistant_streaming_message")


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(
    "error",
    [ServerExclusive("other"), StorageUnavailable("disk full"), TooManyRuns(2), TokensSpent(100, 60.0)],
    ids=lambda error: error.code,
)
async def test_of_a_run_that_was_refused_nothing_remains(tmp_path, link, llm, error, exclusive):
    if not exclusive:
        llm.script(HELD)  # under way when the refusal comes
    link.gate.clear()
    link.failure = lambda append: error if append.begins_run else None
    async with opened(tmp_path, link, served(llm.base_url), exclusive=exclusive) as cell:
        begun = asyncio.create_task(cell.begin("s", Query("Hi")))
        await until(lambda: link.batches == 1)
        if not exclusive:
            await llm.wait_until(lambda each: each.in_flight == 1)
        link.gate.set()
        with pytest.raises(type(error)):
            await begun
        await llm.wait_until(lambda each: each.in_flight == 0)
        assert link.types() == []
        assert not (await cell.status("s")).is_processing
        link.failure = lambda _: None
        assert (await cell.ask("s", Query("Again"))).status == "idle"
    assert llm.request_count == (1 if exclusive else 2)  # an exclusive server asks the model only when it may run
    assert [each["content"] for each in llm.requests[-1].body["messages"]] == ["Be brief.", "Again"]


async def test_no_model_is_asked_for_a_limited_owner_before_the_run_may_begin(tmp_path, link, llm):
    link.is_limited = True
    link.gate.clear()
    link.failure = lambda append: TokensSpent(100, 60.0) if append.begins_run else None
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        begun = asyncio.create_task(cell.begin("s", Query("Hi")))
        await until(lambda: link.batches == 1)
        link.gate.set()
        with pytest.raises(TokensSpent):
            await begun
        assert llm.request_count == 0
        link.failure = lambda _: None
        assert (await cell.ask("s", Query("Again"))).status == "idle"
    assert llm.request_count == 1


async def test_what_cannot_be_stored_ends_the_run_and_is_stored_later(tmp_path, link, llm):
    llm.script(Reply(text="one two three", hangs_after=4))
    llm.default = Reply(text="Fine.")
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        follower = Follower(cell)
        asked = asyncio.create_task(cell.ask("s", Query("Hi")))
        await cell.follow(follower.name, "s")
        await until(lambda: link.types() == BEGINNING)
        await llm.wait_until(lambda each: each.in_flight == 1)
        link.failure = lambda _: StorageUnavailable("disk full")
        with pytest.raises(StorageUnavailable):
            await cell.change("s", _changes("new"))
        answered = await asked
        assert isinstance(answered.error, StorageUnavailable)
        assert answered.status == "error"
        with pytest.raises(StorageUnavailable):
            await cell.ask("s", Query("Again"))
        assert link.types() == BEGINNING
        link.failure = lambda _: None
        await until(lambda: link.types()[-1] == "agent_run_end")
        assert link.types().count("agent_run_end") == 1
        assert link.events()[-1]["status"] == "error"
        await follower.until(lambda each: bool(each.frames) and each.frames[-1].seq == len(link.frames["s"]))
        assert (await cell.ask("s", Query("Again"))).result == "Fine."
        assert link.records["s"].name is None


async def test_a_session_that_another_cell_has_leaves_at_once(tmp_path, link, llm):
    llm.script(Reply(text="one two", hangs_after=2))
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        follower = Follower(cell)
        asked = asyncio.create_task(cell.ask("s", Query("Hi")))
        await until(lambda: link.types() == BEGINNING)
        await cell.follow(follower.name, "s")
        link.take_away("s")
        with pytest.raises(SessionNotHere):
            await cell.change("s", _changes("new"))
        assert isinstance((await asked).error, RunInterrupted)
        await follower.until(lambda each: each.lost == ["s"])
        assert cell.attach().held == {}
        await llm.wait_until(lambda each: each.in_flight == 0)
    assert link.types() == BEGINNING


async def test_nobody_pays_for_deltas_that_nobody_hears(tmp_path, link, llm, monkeypatch):
    monkeypatch.setattr("organism.sessions.agent_loop.AssistantStreamingMessage", None)
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        assert (await cell.ask("s", Query("Hi"))).error is None


# Sessions in their cell


async def test_a_session_is_loaded_once_however_many_ask(tmp_path, link):
    async with opened(tmp_path, link, scripted("Hi.")) as cell:
        states = await asyncio.gather(*[cell.status("s") for _ in range(100)])
    assert {each.state for each in states} == {"idle"}
    assert link.loads == 1


async def test_one_of_many_queries_runs_and_the_others_are_told_that_it_is_busy(tmp_path, link):
    async with opened(tmp_path, link, scripted("Hi.")) as cell:
        results = await asyncio.gather(*[cell.ask("s", Query("Hi")) for _ in range(50)], return_exceptions=True)
    assert sum(isinstance(each, SessionBusy) for each in results) == 49
    assert link.types().count("agent_run_end") == 1


async def test_an_idle_session_is_given_up_and_one_that_is_followed_is_kept(tmp_path, link):
    link.create("followed")
    async with opened(tmp_path, link, scripted("Hi."), idle_timeout_s=0.05) as cell:
        await cell.follow("follower", "followed")
        await cell.ask("s", Query("Hi"))
        await until(lambda: link.released == [("s", 1)])
        assert cell.attach().held == {"followed": 1}
        assert not await cell.passivate("followed")
        assert (await cell.status("s")).state == "idle"
        assert link.loads == 3


async def test_a_retired_cell_gives_up_each_session_when_its_run_has_ended(tmp_path, link, llm):
    link.create("idle")
    llm.script(Reply(text="Done.", is_held=True))
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        await cell.status("idle")
        await cell.begin("s", Query("Hi"))
        await cell.retire()
        assert link.released == [("idle", 1)]
        with pytest.raises(SessionNotHere):
            await cell.status("idle")
        llm.release()
        await until(lambda: ("s", 1) in link.released)
    assert link.types()[-1] == "agent_run_end"
    assert link.events()[-1]["status"] == "idle"


async def test_a_dropped_session_stores_nothing_more(tmp_path, link, llm):
    llm.script(HELD)
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        follower = Follower(cell)
        await cell.begin("s", Query("Hi"), follower.name)
        await cell.drop("s")
        await follower.until(lambda each: each.lost == ["s"])
        await llm.wait_until(lambda each: each.in_flight == 0)
    assert link.types() == BEGINNING


async def test_a_session_goes_on_where_it_was(tmp_path, link, llm):
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        await cell.ask("s", Query("My name is Ada."))
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        await cell.ask("s", Query("What is my name?"))
    told = [each["content"] for each in llm.requests[1].body["messages"]]
    assert told == ["Be brief.", "My name is Ada.", "Hello from the fake model.", "What is my name?"]


async def test_images_reach_the_model(tmp_path, link, llm):
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    async with opened(tmp_path, link, served(llm.base_url)) as cell:
        await cell.ask("s", Query(parts))
    assert llm.requests[0].body["messages"][1]["content"] == parts


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("  ", "query"),
        ([], "query"),
        ("x" * 300, "query"),
        ("\ud83d", "query"),
        ([{"type": "video"}], "query.0.type"),
        ([{"type": "text"}], "query.0.text"),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}], "query.1.image_url.url"),
        ([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}], "query.0.image_url.url"),
        (["a"], "query.0"),
    ],
)
async def test_a_query_of_the_wrong_form_is_refused(tmp_path, link, content, field):
    async with opened(tmp_path, link, scripted("Hi."), max_query_bytes=200) as cell:
        with pytest.raises(InvalidQuery) as refused:
            await cell.begin("s", Query(content))
        assert refused.value.field == field
        assert not (await cell.status("s")).is_processing


async def test_a_title_has_six_words_and_no_quotation_marks(tmp_path, link):
    async with opened(tmp_path, link, scripted('"One two three\nfour five six seven."')) as cell:
        summary = await cell.summarize("s", [{"role": "user", "content": "Count"}], None)
    assert summary.summary == "One two three four five six"
    assert summary.provider == "scripted"
    assert link.records["s"].tokens > 0


async def test_a_title_is_answered_also_where_its_tokens_cannot_be_stored_now(tmp_path, link):
    link.failure = lambda _: StorageUnavailable("disk full")
    async with opened(tmp_path, link, scripted("One two.")) as cell:
        assert (await cell.summarize("s", [{"role": "user", "content": "Count"}], None)).summary == "One two"
        assert link.records["s"].tokens == 0
        link.failure = lambda _: None
        await until(lambda: link.records["s"].tokens > 0)


def _changes(name: str) -> Any:
    return SessionChanges(name=name)
