"""Reading the event stream: every split of the bytes gives the same reply, and the dialects are understood."""

from contextlib import suppress
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.llm.base import Final, TextDelta, ThinkingDelta, ToolCall, ToolCallDelta, Usage
from organism.llm.chat_stream import MAX_LINE_BYTES, ChatStream, ErrorInStream, MalformedStream


def event(delta=None, finish=None, **more):
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return b"data: " + orjson.dumps({"choices": choices, **more}) + b"\n\n"


def call(index=None, call_id=None, name=None, arguments=None):
    fragment = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return event({"tool_calls": [{key: value for key, value in fragment.items() if value is not None}]})


END = event(finish="stop") + b"data: [DONE]\n\n"


def read(data: bytes) -> Final:
    stream = ChatStream()
    stream.feed(data)
    assert stream.is_complete
    return stream.final(input_estimate=7, asked_model="asked", backend="main")


WHOLE = (
    b": hello\r\n\r\n"
    + event({"role": "assistant", "content": ""}, model="m-1")
    + event({"reasoning_content": "Hm, "})
    + event({"reasoning": "so."})
    + event({"content": "Grüße\u2028 "})
    + event({"content": "du"})
    + call(0, "c0", "read", "")
    + call(0, arguments='{"path":')
    + call(0, arguments=' "a"}')
    + event(finish="tool_calls")
    + event(usage={"prompt_tokens": 12, "completion_tokens": 34})
    + b"data: [DONE]\n\n"
)
REPLY = Final(
    "Grüße\u2028 du",
    "Hm, so.",
    (ToolCall("c0", "read", '{"path": "a"}'),),
    "tool_calls",
    Usage(12, 34),
    "m-1",
    "main",
)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=20))
def test_a_stream_cut_anywhere_gives_the_same_reply(cuts):
    stream = ChatStream()
    edges = [0, *sorted(cuts), len(WHOLE)]
    deltas = [delta for start, end in pairwise(edges) for delta in stream.feed(WHOLE[start:end])]
    assert stream.final(input_estimate=0, asked_model="", backend="main") == REPLY
    assert deltas == [
        ThinkingDelta("Hm, "),
        ThinkingDelta("so."),
        TextDelta("Grüße\u2028 "),
        TextDelta("du"),
        ToolCallDelta(0, "c0", "read", ""),
        ToolCallDelta(0, arguments='{"path":'),
        ToolCallDelta(0, arguments=' "a"}'),
    ]


def test_without_usage_the_tokens_are_estimated():
    assert read(event({"content": "12345678"}) + END).usage == Usage(7, 2, estimated=True)


def test_without_done_a_finish_reason_makes_the_reply_complete():
    assert read(event({"content": "Hi"}) + event(finish="length")).finish_reason == "length"


def test_without_a_finish_reason_done_makes_the_reply_complete():
    assert read(event({"content": "Hi"}) + b"data: [DONE]\n").finish_reason == "stop"
    assert read(call(0, "c0", "read") + b"data: [DONE]\n").finish_reason == "tool_calls"


def test_with_neither_the_reply_is_not_complete():
    stream = ChatStream()
    stream.feed(event({"content": "Hi"}))
    assert not stream.is_complete


def test_what_comes_after_done_is_ignored():
    assert read(event({"content": "Hi"}) + END + event({"content": " there"})).text == "Hi"


PARALLEL = (ToolCall("a", "read", '{"x": 1}'), ToolCall("b", "write", '{"y": 2}'))


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(
            call(0, "a", "read", '{"x":')
            + call(1, "b", "write", '{"y":')
            + call(0, arguments=" 1}")
            + call(1, arguments=" 2}"),
            id="interleaved",
        ),
        pytest.param(
            call(1, "a", "read", '{"x":')
            + call(1, arguments=" 1}")
            + call(2, "b", "write", '{"y":')
            + call(2, arguments=" 2}"),
            id="counted-from-one",
        ),
        pytest.param(call(0, "a", "read", '{"x": 1}') + call(0, "b", "write", '{"y": 2}'), id="all-index-0"),
        pytest.param(
            call(None, "a", "read", '{"x":')
            + call(None, arguments=" 1}")
            + call(None, "b", "write", '{"y":')
            + call(None, arguments=" 2}"),
            id="no-index",
        ),
        pytest.param(
            call(0, "a", "read", '{"x":')
            + call(0, "a", "read", " 1}")
            + call(1, "b", "write", '{"y":')
            + call(1, "b", "write", " 2}"),
            id="id-and-name-repeated",
        ),
    ],
)
def test_tool_calls_are_put_together_whatever_the_endpoint_numbers_them(stream):
    assert read(stream + END).tool_calls == PARALLEL


def test_calls_without_ids_get_some_and_missing_arguments_are_an_empty_object():
    assert read(call(0, None, "now") + call(1, None, "here") + END).tool_calls == (
        ToolCall("call_0", "now", "{}"),
        ToolCall("call_1", "here", "{}"),
    )


def test_a_tool_call_without_a_name_is_malformed():
    stream = ChatStream()
    stream.feed(call(0, "a", None, "{}") + END)
    with pytest.raises(MalformedStream, match="no name"):
        stream.final(input_estimate=0, asked_model="", backend="")


@pytest.mark.parametrize(
    "line",
    [
        b"data: {not json\n",
        b"data: [1, 2]\n",
        b'data: "text"\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n',
        b'data: {"choices": [{"delta": {"content": {"a": 1}}}]}\n',
        b'data: {"choices": {"a": 1}}\n',
        b'data: {"choices": [null]}\n',
        b'data: {"choices": [], "usage": {"prompt_tokens": "many"}}\n',
        b'data: {"choices": [{"delta": {"tool_calls": [5]}}]}\n',
        b"data: \xff\xfe\n",
    ],
)
def test_what_is_no_chunk_is_malformed(line):
    with pytest.raises(MalformedStream):
        ChatStream().feed(line)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_else(data):
    with suppress(MalformedStream, ErrorInStream):
        ChatStream().feed(b"data:" + data + b"\n")


def test_a_line_without_end_is_malformed_before_it_fills_the_memory():
    stream = ChatStream()
    stream.feed(b"x" * MAX_LINE_BYTES)
    with pytest.raises(MalformedStream, match="more than"):
        stream.feed(b"x")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ({"message": "too long", "code": 400}, 400, "too long"),
        ({"message": "slow down", "code": "429"}, 429, "slow down"),
        ({"message": "oh", "code": "server_error"}, None, "oh"),
        ("plain text", None, "plain text"),
    ],
)
def test_an_error_event_is_told_with_its_status(error, status, message):
    with pytest.raises(ErrorInStream) as caught:
        ChatStream().feed(b"data: " + orjson.dumps({"error": error}) + b"\n")
    assert (caught.value.status, caught.value.message) == (status, message)
