"""The openai provider against a fake server, over real HTTP: each way a reply can come and fail."""

import asyncio
import socket
import traceback

import httpx2
import openai
import pytest

from organism.config import Backend
from organism.errors import ModelError
from organism.llm.base import (
    ChatMessage,
    Final,
    ModelNotFound,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    TextDelta,
    Tool,
    ToolCall,
    answer,
)
from organism.llm.chat_stream import ChatStream
from organism.llm.openai import OpenAiProvider, retry_after_s
from tests.fake_llm import FakeLlm, Reply

QUESTION = [ChatMessage("user", "Hello?")]
KEY = "sk-secret-0123456789"


@pytest.fixture
async def llm():
    async with FakeLlm(Reply("Hello you there")) as server:
        yield server


@pytest.fixture
async def provider(llm):
    backend = Backend(base_url=llm.base_url, api_key_env="THE_KEY", models=("m",), timeout_s=5)
    provider = OpenAiProvider("main", backend, {"THE_KEY": KEY})
    yield provider
    await provider.aclose()


@pytest.fixture
async def impatient(llm):
    provider = OpenAiProvider("main", Backend(base_url=llm.base_url, models=("m",), timeout_s=0.5), {})
    yield provider
    await provider.aclose()


async def test_the_request_holds_messages_tools_and_options_as_the_protocol_wants_them(llm, provider):
    messages = [
        ChatMessage("system", "Be short."),
        ChatMessage("assistant", "", (ToolCall("c1", "read", '{"path": "a"}'),)),
        ChatMessage("tool", "contents", tool_call_id="c1"),
    ]
    await answer(provider, messages, [Tool("read", "Reads.", {"type": "object"})], temperature=0.5, max_tokens=9)
    assert llm.requests[0].body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be short."},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path": "a"}'}}
                ],
            },
            {"role": "tool", "content": "contents", "tool_call_id": "c1"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {"name": "read", "description": "Reads.", "parameters": {"type": "object"}},
            }
        ],
        "temperature": 0.5,
        "max_tokens": 9,
    }


async def test_the_key_comes_from_the_named_variable(llm, provider):
    await answer(provider, QUESTION)
    assert llm.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_the_process_environment_is_not_sent_to_an_endpoint(llm, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")
    provider = OpenAiProvider("main", Backend(base_url=llm.base_url, models=("m",)), {"OPENAI_API_KEY": "private"})
    await answer(provider, QUESTION)
    await provider.aclose()
    assert "private" not in str(llm.requests[0].headers)
    assert "authorization" not in llm.requests[0].headers


async def test_a_key_that_is_not_set_is_told_by_its_variable_and_nothing_is_sent(llm):
    provider = OpenAiProvider("main", Backend(base_url=llm.base_url, api_key_env="THE_KEY", models=("m",)), {})
    with pytest.raises(ModelRejected, match="THE_KEY is not set"):
        await answer(provider, QUESTION)
    await provider.aclose()
    assert llm.request_count == 0


@pytest.mark.parametrize("key", ["sk-”quoted”", "sk-two\nlines"])
async def test_a_key_that_cannot_be_one_is_told_by_its_variable_without_showing_it(llm, key):
    backend = Backend(base_url=llm.base_url, api_key_env="THE_KEY", models=("m",))
    with pytest.raises(ModelRejected, match="THE_KEY holds characters") as caught:
        await answer(OpenAiProvider("main", backend, {"THE_KEY": key}), QUESTION)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:11434/v1", "http://[::1", "ftp://x/v1", "not a url", "http://", "http://127.0.0.1:99999/v1"]
)
async def test_a_base_url_that_is_none_is_told_when_a_model_is_asked_for(url):
    provider = OpenAiProvider("main", Backend(base_url=url, models=("m",)), {})
    with pytest.raises(ModelRejected, match="base_url is no http"):
        await answer(provider, QUESTION)


async def test_without_any_model_name_there_is_nothing_to_ask_for(llm):
    provider = OpenAiProvider("main", Backend(base_url=llm.base_url), {})
    with pytest.raises(ModelNotFound):
        await answer(provider, QUESTION)
    assert (await answer(provider, QUESTION, model="any")).model == "any"
    await provider.aclose()


async def test_usage_and_finish_reason_are_the_endpoints(llm, provider):
    llm.script(Reply(usage=(123, 45), finish_reason="length"))
    final = await answer(provider, QUESTION)
    assert (final.usage.input_tokens, final.usage.output_tokens, final.usage.estimated) == (123, 45, False)
    assert final.finish_reason == "length"


async def test_missing_usage_is_estimated(llm, provider):
    llm.script(Reply(usage=None))
    assert (await answer(provider, QUESTION)).usage.estimated


async def test_comments_that_keep_the_connection_alive_are_no_content(llm, provider):
    llm.script(Reply("one two", has_comments=True))
    assert (await answer(provider, QUESTION)).text == "one two"


async def test_comments_also_keep_a_slow_reply_from_timing_out(llm, impatient):
    llm.script(Reply("a b c d", has_comments=True, chunk_delay_s=0.15))
    assert (await answer(impatient, QUESTION)).text == "a b c d"


async def test_a_missing_done_is_fine_once_the_finish_reason_came(llm, provider):
    llm.script(Reply("fine", has_done=False))
    assert (await answer(provider, QUESTION)).text == "fine"


async def test_a_reply_that_ends_without_its_end_is_broken(llm, provider):
    llm.script(Reply("one two", has_done=False, has_finish=False))
    with pytest.raises(ModelProtocolError, match="broke off before its end"):
        await answer(provider, QUESTION)


async def test_a_connection_lost_after_the_finish_reason_loses_nothing(llm, provider):
    llm.script(Reply("whole", raw='data: {"choices":[{"delta":{"content":"whole"},"finish_reason":"stop"}]}'))
    assert (await answer(provider, QUESTION)).text == "whole"


async def test_a_connection_lost_in_the_middle_is_an_error_after_what_came(llm, provider):
    llm.script(Reply("one two three four", breaks_after=3))
    seen = []

    async def read():
        async for event in provider.stream(QUESTION):
            seen.append(event)  # noqa: PERF401 - what came before the error must be kept

    with pytest.raises(ModelProtocolError, match="broke off"):
        await read()
    assert seen == [TextDelta("one"), TextDelta(" two")]


async def test_a_malformed_chunk_is_a_protocol_error(llm, provider):
    llm.script(Reply("one two", malformed_after=2))
    with pytest.raises(ModelProtocolError, match="no JSON"):
        await answer(provider, QUESTION)


async def test_a_page_instead_of_a_stream_points_to_base_url(llm, provider):
    llm.script(Reply(raw="<html>Welcome</html>", content_type="text/html"))
    with pytest.raises(ModelProtocolError, match=r"text/html.*base_url"):
        await answer(provider, QUESTION)


@pytest.mark.parametrize(
    ("status", "error"), [(500, ModelUnavailable), (503, ModelUnavailable), (408, ModelUnavailable)]
)
async def test_a_server_error_makes_the_model_unavailable(llm, provider, status, error):
    llm.script(Reply(status=status, error="the GPU is on fire"))
    with pytest.raises(error, match=f"{status}.*the GPU is on fire"):
        await answer(provider, QUESTION)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_client_error_is_a_rejection_with_its_status(llm, provider, status):
    llm.script(Reply(status=status, error="not so"))
    with pytest.raises(ModelRejected, match=f"{status}.*not so") as caught:
        await answer(provider, QUESTION)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_the_key_is_never_shown_even_when_the_endpoint_repeats_it(llm, provider, status):
    llm.script(Reply(status=status, error=f"Incorrect API key provided: {KEY}."))
    with pytest.raises((ModelRejected, ModelRateLimited, ModelUnavailable), match=r"\*\*\*") as caught:
        await answer(provider, QUESTION)
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_an_endless_error_text_is_cut(llm, provider):
    llm.script(Reply(status=500, error="x" * 100_000))
    with pytest.raises(ModelUnavailable) as caught:
        await answer(provider, QUESTION)
    assert len(str(caught.value)) < 1000


async def test_too_many_requests_tells_when_to_come_back(llm, provider):
    llm.script(Reply(status=429, retry_after_s=7, error="slow down"), Reply(status=429))
    with pytest.raises(ModelRateLimited) as caught:
        await answer(provider, QUESTION)
    assert caught.value.retry_after_s == 7
    with pytest.raises(ModelRateLimited) as caught:
        await answer(provider, QUESTION)
    assert caught.value.retry_after_s is None


async def test_an_error_inside_the_stream_is_told_by_its_code(llm, provider):
    llm.script(
        Reply(raw='data: {"error": {"message": "slow down", "code": 429}}\n\n'),
        Reply(raw='data: {"error": {"message": "too long", "code": 400}}\n\n'),
        Reply(raw='data: {"error": {"message": "engine died"}}\n\n'),
    )
    for expected in (ModelRateLimited, ModelRejected, ModelUnavailable):
        with pytest.raises(expected):
            await answer(provider, QUESTION)


async def test_an_endpoint_that_never_answers_times_out(llm, impatient):
    llm.script(Reply(never_answers=True))
    with pytest.raises(ModelTimeout, match=r"0\.5 s"):
        await answer(impatient, QUESTION)


async def test_a_stream_that_stalls_times_out(llm, impatient):
    llm.script(Reply("one two", hangs_after=2))
    with pytest.raises(ModelTimeout):
        await answer(impatient, QUESTION)


async def test_a_reply_slower_than_the_timeout_as_a_whole_is_fine_while_chunks_come(llm, impatient):
    llm.script(Reply("a b c d", chunk_delay_s=0.15))
    assert (await answer(impatient, QUESTION)).text == "a b c d"


async def test_a_port_where_nobody_listens_makes_the_model_unavailable():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://user:password@127.0.0.1:{port}/v1"
    provider = OpenAiProvider("main", Backend(base_url=url, models=("m",)), {})
    with pytest.raises(ModelUnavailable, match=f"cannot reach http://127.0.0.1:{port}: "):
        await answer(provider, QUESTION)
    await provider.aclose()


async def test_cancelling_closes_the_connection_so_that_the_endpoint_stops(llm, provider):
    llm.script(Reply("one two three", hangs_after=3))
    seen = asyncio.Event()

    async def read():
        async for _ in provider.stream(QUESTION):
            seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await llm.wait_until(lambda server: server.abandoned_count == 1)


async def test_cancelling_before_the_first_byte_closes_the_connection_too(llm, provider):
    llm.script(Reply(never_answers=True))
    task = asyncio.create_task(answer(provider, QUESTION))
    await llm.wait_until(lambda server: server.in_flight == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await llm.wait_until(lambda server: server.abandoned_count == 1)


async def test_leaving_the_stream_closes_the_connection(llm, provider):
    llm.script(Reply("one two three", hangs_after=3))
    events = provider.stream(QUESTION)
    assert await anext(events) == TextDelta("one")
    await events.aclose()
    await llm.wait_until(lambda server: server.abandoned_count == 1)


async def test_one_connection_serves_one_call_after_the_other(llm, provider):
    for _ in range(5):
        assert isinstance(await answer(provider, QUESTION), Final)
    assert llm.connection_count == 1


async def test_a_hundred_replies_may_grow_at_once(llm, provider):
    llm.default = Reply("Hello you there", is_held=True)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(provider, QUESTION)) for _ in range(100)]
        await llm.wait_until(lambda server: server.in_flight == 100)
        llm.release()
    assert {task.result().text for task in tasks} == {"Hello you there"}


def all_below(error_class):
    for each in error_class.__subclasses__():
        yield each
        yield from all_below(each)


@pytest.mark.parametrize("error_class", [*all_below(openai.APIError), *all_below(httpx2.HTTPError)])
def test_every_error_of_sdk_and_connection_becomes_one_of_ours(error_class):
    error = error_class.__new__(error_class)
    response = httpx2.Response(418, request=httpx2.Request("POST", "http://x"))
    vars(error).update(message="", body=None, status_code=418, response=response)
    provider = OpenAiProvider("main", Backend(), {})
    with pytest.raises(ModelError), provider._translated_errors(ChatStream()):
        raise error


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "١"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, expected_s):
    assert retry_after_s(headers, now_s=1795255200.0) == expected_s
