"""The fake server itself, which notebooks and benchmarks use too: as a process, whole answers, the list of models."""

import asyncio
import json
import sys
from pathlib import Path

import httpx2
import openai
import pytest

from organism.config import Backend
from organism.llm.base import ChatMessage, ToolCall, answer
from organism.llm.openai import OpenAiProvider
from tests.fake_llm import FakeLlm, Reply

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def base_url():
    """Of a fake server in another process."""
    command = (sys.executable, "-m", "tests.fake_llm", "--text", "from afar")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    yield json.loads(await process.stdout.readline())["base_url"]
    process.terminate()
    await process.communicate()


async def test_as_a_process_it_answers_takes_scripts_and_tells_what_it_was_asked(base_url):
    provider = OpenAiProvider("main", Backend(base_url=base_url, models=("m",)), {})
    control = base_url.removesuffix("/v1")
    async with httpx2.AsyncClient() as client:
        await client.post(f"{control}/script", json=[{"text": "", "tool_calls": [["read", "{}"]], "usage": [3, 4]}])
        scripted = await answer(provider, [ChatMessage("user", "one")])
        default = await answer(provider, [ChatMessage("user", "two")])
        asked = (await client.get(f"{control}/requests")).json()
    await provider.aclose()
    assert scripted.tool_calls == (ToolCall("call_0", "read", "{}"),)
    assert (scripted.usage.input_tokens, default.text) == (3, "from afar")
    assert [body["messages"][0]["content"] for body in asked["bodies"]] == ["one", "two"]


async def test_the_official_client_understands_it_streamed_and_whole():
    reply = Reply("Hello you", tool_calls=(("read", '{"path": "a"}'),))
    async with FakeLlm(reply) as llm, openai.AsyncOpenAI(base_url=llm.base_url, api_key="none") as client:
        question = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
        whole = await client.chat.completions.create(**question)
        parts = await client.chat.completions.create(**question, stream=True)
        text = "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])
        models = [model.id async for model in client.models.list()]
    assert whole.choices[0].message.content == text == "Hello you"
    assert whole.choices[0].message.tool_calls[0].function.arguments == '{"path": "a"}'
    assert models == ["fake-model"]


async def test_a_function_may_answer_by_what_was_asked():
    async with FakeLlm(lambda body: Reply(body["messages"][-1]["content"].upper())) as llm:
        provider = OpenAiProvider("main", Backend(base_url=llm.base_url, models=("m",)), {})
        assert (await answer(provider, [ChatMessage("user", "hello")])).text == "HELLO"
        await provider.aclose()
