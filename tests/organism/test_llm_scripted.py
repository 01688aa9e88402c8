"""The provider without a model."""

from hypothesis import given
from hypothesis import strategies as st

from organism.llm.base import ChatMessage, Final, ModelUnavailable, TextDelta, ThinkingDelta, ToolCall, answer
from organism.llm.scripted import ScriptedProvider, ScriptedReply

QUESTION = [ChatMessage("user", "What is it?")]


async def test_replies_come_in_turn_and_then_from_the_start():
    provider = ScriptedProvider(script=("one", "two"))
    assert [(await answer(provider, QUESTION)).text for _ in range(3)] == ["one", "two", "one"]


async def test_without_a_script_it_repeats_the_last_message():
    assert (await answer(ScriptedProvider(), QUESTION)).text == "What is it?"


async def test_a_function_sees_the_call_and_may_answer_with_tool_calls():
    call = ToolCall("c1", "read", '{"path": "a"}')
    provider = ScriptedProvider(script=lambda asked: ScriptedReply(asked.model or "", "hm", (call,)))
    final = await answer(provider, QUESTION, model="m", temperature=0.5)
    assert (final.text, final.thinking, final.tool_calls, final.finish_reason) == ("m", "hm", (call,), "tool_calls")
    assert provider.calls[0].temperature == 0.5


async def test_text_and_thinking_come_word_by_word():
    provider = ScriptedProvider(script=(ScriptedReply("Hi  there\n", "well now"),))
    *deltas, final = [event async for event in provider.stream(QUESTION)]
    assert deltas == [
        ThinkingDelta("well"), ThinkingDelta(" now"), TextDelta("Hi"), TextDelta("  there"), TextDelta("\n"),
    ]  # fmt: skip
    assert isinstance(final, Final)


@given(st.text())
async def test_any_text_comes_out_as_it_was_written(text):
    assert (await answer(ScriptedProvider(script=(text,)), QUESTION)).text == text


async def test_an_error_comes_after_what_was_said():
    provider = ScriptedProvider(script=(ScriptedReply("Well", error=ModelUnavailable("scripted", "gone")),))
    seen = []
    try:
        async for event in provider.stream(QUESTION):
            seen.append(event)  # noqa: PERF401 - what came before the error must be kept
    except ModelUnavailable:
        seen.append("error")
    assert seen == [TextDelta("Well"), "error"]
