"""What happens in a session, as clients see it, as it is stored, and as the Python client reads it: one model.

JSON names are camelCase (`toolCallId`); times are milliseconds since the epoch. Deltas (`DELTAS`) are streamed and
never stored, so they have no `seq`; all others are numbered 1, 2, 3… within their session, without gaps.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from organism.messages import new_id, now_ms

FinishReason = Literal["stop", "tool_calls", "length", "abort", "error", "max_iterations"]
RunStatus = Literal["idle", "executing", "aborted", "error"]
Content = str | list[dict[str, Any]]
"""A text, or content parts as OpenAI has them: `{type: text, text}`, `{type: image_url, image_url: {url}}`."""

DELTAS = frozenset({
    "assistant_streaming_message", "assistant_streaming_thinking_message", "assistant_streaming_tool_call",
    "final_answer_streaming",
})  # fmt: skip
"""Types that are never stored."""


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, serialize_by_alias=True)


class SessionEvent(_Wire):
    """Base of all. `seq` is given when the event is stored."""

    id: str = Field(default_factory=new_id)
    timestamp: int = Field(default_factory=now_ms)
    seq: int | None = None


class ToolCallInfo(_Wire):
    """A call as the model made it, in an assistant_message; `arguments` is the JSON it wrote."""

    id: str
    name: str
    arguments: str


class ToolInfo(_Wire):
    name: str
    description: str
    schema_: dict[str, Any] = Field(alias="schema")


class PlanStep(_Wire):
    content: str
    done: bool = False


class TokenUsage(_Wire):
    input_tokens: int = 0
    output_tokens: int = 0


class UserMessage(SessionEvent):
    type: Literal["user_message"] = "user_message"
    content: Content


class AssistantMessage(SessionEvent):
    """`ttft_ms` until the first delta, `ttlt_ms` until the last, both from the start of the model's turn."""

    type: Literal["assistant_message"] = "assistant_message"
    content: str
    tool_calls: list[ToolCallInfo] | None = None
    finish_reason: FinishReason | None = None
    message_id: str
    ttft_ms: int | None = None
    ttlt_ms: int | None = None


class AssistantThinkingMessage(SessionEvent):
    type: Literal["assistant_thinking_message"] = "assistant_thinking_message"
    content: str
    is_complete: bool = True
    message_id: str
    thinking_duration_ms: int | None = None


class AssistantStreamingMessage(SessionEvent):
    """A delta; `message_id` is that of the assistant_message to come."""

    type: Literal["assistant_streaming_message"] = "assistant_streaming_message"
    content: str
    is_complete: bool = False
    message_id: str


class AssistantStreamingThinkingMessage(SessionEvent):
    type: Literal["assistant_streaming_thinking_message"] = "assistant_streaming_thinking_message"
    content: str
    is_complete: bool = False
    message_id: str


class AssistantStreamingToolCall(SessionEvent):
    """A delta of a call's arguments."""

    type: Literal["assistant_streaming_tool_call"] = "assistant_streaming_tool_call"
    tool_call_id: str
    tool_name: str
    arguments: str
    is_complete: bool = False
    message_id: str


class ToolCallEvent(SessionEvent):
    """`arguments` as parsed, or the text itself where it is no JSON object."""

    type: Literal["tool_call"] = "tool_call"
    tool_call_id: str
    name: str
    arguments: Any
    start_time: int
    tool: ToolInfo


class ToolResultEvent(SessionEvent):
    type: Literal["tool_result"] = "tool_result"
    tool_call_id: str
    name: str
    content: Any
    elapsed_ms: int
    error: str | None = None


class SystemEvent(SessionEvent):
    type: Literal["system"] = "system"
    level: Literal["info", "warning", "error"]
    message: str
    details: dict[str, Any] | None = None


class AgentRunStart(SessionEvent):
    """`run_options` holds what the client asked for: {input, stream}."""

    type: Literal["agent_run_start"] = "agent_run_start"
    session_id: str
    run_options: dict[str, Any]
    provider: str | None = None
    model: str | None = None
    agent_name: str | None = None


class AgentRunEnd(SessionEvent):
    type: Literal["agent_run_end"] = "agent_run_end"
    session_id: str
    iterations: int
    elapsed_ms: int
    status: RunStatus
    usage: TokenUsage | None = None


class EnvironmentInput(SessionEvent):
    """What a query refers to by @file: and @dir:."""

    type: Literal["environment_input"] = "environment_input"
    content: Content
    description: str | None = None
    metadata: dict[str, Any] | None = None


class PlanStart(SessionEvent):
    type: Literal["plan_start"] = "plan_start"
    session_id: str


class PlanUpdate(SessionEvent):
    type: Literal["plan_update"] = "plan_update"
    session_id: str
    steps: list[PlanStep]


class PlanFinish(SessionEvent):
    type: Literal["plan_finish"] = "plan_finish"
    session_id: str
    summary: str


class FinalAnswer(SessionEvent):
    type: Literal["final_answer"] = "final_answer"
    content: str
    message_id: str | None = None


class FinalAnswerStreaming(SessionEvent):
    type: Literal["final_answer_streaming"] = "final_answer_streaming"
    content: str
    is_complete: bool = False
    message_id: str | None = None


AnyEvent = Annotated[
    UserMessage
    | AssistantMessage
    | AssistantThinkingMessage
    | AssistantStreamingMessage
    | AssistantStreamingThinkingMessage
    | AssistantStreamingToolCall
    | ToolCallEvent
    | ToolResultEvent
    | SystemEvent
    | AgentRunStart
    | AgentRunEnd
    | EnvironmentInput
    | PlanStart
    | PlanUpdate
    | PlanFinish
    | FinalAnswer
    | FinalAnswerStreaming,
    Field(discriminator="type"),
]

_ANY: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


class Frame(NamedTuple):
    """An event on its way: encoded once, where it happens. `seq` None for deltas; `body` one line of JSON, UTF-8."""

    session_id: str
    seq: int | None
    type: str
    body: bytes


def encode(session_id: str, event: AnyEvent) -> Frame:
    """The event as it is stored and sent."""
    body = event.__pydantic_serializer__.to_json(event, by_alias=True, exclude_none=True)
    return Frame(session_id, event.seq, event.type, body)


def decode(body: bytes | str) -> AnyEvent:
    """Raises pydantic.ValidationError where it is no event."""
    return _ANY.validate_json(body)
