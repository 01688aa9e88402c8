"""What the model is told of a session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from organism.llm.base import ChatMessage
from organism.sessions.events import (
    AnyEvent,
    AssistantMessage,
    EnvironmentInput,
    SystemEvent,
    ToolCallInfo,
    ToolResultEvent,
    UserMessage,
)
from organism.sessions.history import INTERRUPTED, History

PROMPT = "You are brief."


def call_of(*ids: str) -> AssistantMessage:
    calls = [ToolCallInfo(id=each, name="tool", arguments="{}") for each in ids]
    return AssistantMessage(content="", tool_calls=calls, message_id="m")


def result_of(call_id: str, content: str = "result") -> ToolResultEvent:
    return ToolResultEvent(tool_call_id=call_id, name="tool", content=content, elapsed_ms=1)


def told(*events: AnyEvent, context_tokens: int = 100_000) -> list[ChatMessage]:
    history = History()
    for event in events:
        history.add(event)
    return history.messages(PROMPT, context_tokens)


def test_a_call_without_a_result_gets_one_that_says_so():
    messages = told(UserMessage(content="?"), call_of("a", "b"), result_of("b"), UserMessage(content="!"))
    assert [(each.role, each.content) for each in messages[2:]] == [
        ("assistant", ""), ("tool", INTERRUPTED), ("tool", "result"), ("user", "!"),
    ]  # fmt: skip


def test_what_a_query_refers_to_belongs_to_its_turn():
    messages = told(UserMessage(content="?"), EnvironmentInput(content="file"), SystemEvent(level="info", message="x"))
    assert [each.content for each in messages] == [PROMPT, "?", "file"]


def test_images_stay_beside_the_text():
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "https://example.org/a"}}]
    assert told(UserMessage(content=parts))[1].parts == tuple(parts)


turns = st.lists(
    st.tuples(
        st.integers(0, 2000),  # characters of the query
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3000)), max_size=4),
    ),
    min_size=1,
    max_size=12,
)


@given(turns, st.integers(1, 3000))
def test_a_cut_keeps_whole_turns_the_present_one_and_answers_every_call(plan, context_tokens):
    events: list[AnyEvent] = []
    for number, (characters, replies) in enumerate(plan):
        events.append(UserMessage(content=f"{number}:" + "x" * characters))
        for calls, answered, size in replies:
            ids = [f"call_{index}" for index in range(calls)]  # the same ids in every reply
            events.append(call_of(*ids) if ids else AssistantMessage(content="y" * size, message_id="m"))
            events.extend(result_of(each, "z" * size) for each in reversed(ids[:answered]))
    whole = told(*events, context_tokens=10**9)
    cut = told(*events, context_tokens=context_tokens)

    assert cut[0] == ChatMessage("system", PROMPT)
    assert cut[1:] == whole[len(whole) - len(cut) + 1 :]
    assert cut[1].role == "user"
    assert any(each.content.startswith(f"{len(plan) - 1}:") for each in cut)
    for index, message in enumerate(cut):
        following = cut[index + 1 : index + 1 + len(message.tool_calls)]
        assert [each.tool_call_id for each in following] == [call.id for call in message.tool_calls]
