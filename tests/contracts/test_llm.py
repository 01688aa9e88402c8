"""What every provider of the LLM seam must do; the same tests for each."""

from contextlib import aclosing

import pytest

from organism.config import Backend, LlmSection
from organism.llm.base import ChatMessage, Final, TextDelta, ThinkingDelta, Tool, ToolCall, ToolCallDelta, answer
from organism.llm.openai import OpenAiProvider
from organism.llm.router import Router
from organism.llm.scripted import ScriptedProvider, ScriptedReply
from tests.fake_llm import FakeLlm, Reply

TEXT, THINKING, ARGUMENTS = "It is  a fine\nday. ", "Let me see", '{"path": "a.txt", "lines": [1, 2]}'
QUESTION = [ChatMessage("system", "Be short."), ChatMessage("user", "How is it?")]
TOOLS = [Tool("read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})]


@pytest.fixture(params=["openai", "scripted", "router"])
async def provider(request):
    scripted = ScriptedProvider("scripted", (ScriptedReply(TEXT, THINKING, (ToolCall("call_0", "read", ARGUMENTS),)),))
    async with FakeLlm(Reply(TEXT, THINKING, (("read", ARGUMENTS),))) as llm:
        backend = Backend(base_url=llm.base_url, models=("m",))
        made = {
            "openai": lambda: OpenAiProvider("openai", backend, {}),
            "scripted": lambda: scripted,
            "router": lambda: Router(LlmSection(backends=(Backend(provider="scripted"),)), [scripted]),
        }[request.param]()
        yield made
        await made.aclose()


async def test_the_deltas_make_the_final_message_which_comes_last(provider):
    *deltas, final = [event async for event in provider.stream(QUESTION, TOOLS)]
    assert isinstance(final, Final)
    assert "".join(each.text for each in deltas if isinstance(each, TextDelta)) == final.text == TEXT
    assert "".join(each.text for each in deltas if isinstance(each, ThinkingDelta)) == final.thinking == THINKING
    calls = [each for each in deltas if isinstance(each, ToolCallDelta)]
    assert (calls[0].id, calls[0].name, {each.index for each in calls}) == ("call_0", "read", {0})
    assert "".join(each.arguments for each in calls) == ARGUMENTS
    assert final.tool_calls == (ToolCall("call_0", "read", ARGUMENTS),)
    assert final.finish_reason == "tool_calls"
    assert final.usage.input_tokens > 0
    assert final.usage.output_tokens > 0


async def test_the_reply_comes_piece_by_piece(provider):
    events = [event async for event in provider.stream(QUESTION)]
    assert len([each for each in events if isinstance(each, TextDelta)]) > 3


async def test_the_final_names_model_and_backend(provider):
    final = await answer(provider, QUESTION, model="m" if provider.name == "openai" else None)
    assert final.model in ("m", "scripted")
    assert final.backend in ("openai", "scripted")


async def test_a_reply_may_be_left_in_the_middle_and_the_next_one_asked_for(provider):
    async with aclosing(provider.stream(QUESTION)) as events:
        await anext(events)
    assert (await answer(provider, QUESTION)).text == TEXT


async def test_closing_twice_is_fine(provider):
    await provider.aclose()
    await provider.aclose()
