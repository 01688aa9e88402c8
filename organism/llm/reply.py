"""Grows a reply from its deltas; shared by providers. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from organism.llm.base import ChatMessage, Delta, Final, TextDelta, ThinkingDelta, Tool, ToolCall, ToolCallDelta, Usage

CHARACTERS_PER_TOKEN = 4
"""Of English and code, about; only for limits and where an endpoint reports no usage."""

TOKENS_PER_IMAGE = 1000

TOKENS_PER_MESSAGE = 4
"""What role and separators of a message cost, about."""


def estimate_input_tokens(messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
    """About how many tokens these will be counted as."""
    characters = sum(len(each.content) + sum(len(call.arguments) for call in each.tool_calls) for each in messages)
    characters += sum(len(each.description) + len(str(each.schema)) for each in tools)
    images = sum(part.get("type") == "image_url" for each in messages for part in each.parts)
    return characters // CHARACTERS_PER_TOKEN + TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_IMAGE * images


class GrowingReply:
    """Takes deltas one after the other; `final` is the reply they make together."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: dict[int, _GrowingCall] = {}

    def add(self, delta: Delta) -> None:
        match delta:
            case TextDelta(text):
                self._text.append(text)
            case ThinkingDelta(text):
                self._thinking.append(text)
            case ToolCallDelta():
                self._calls.setdefault(delta.index, _GrowingCall()).add(delta)

    @property
    def has_tool_calls(self) -> bool:
        return bool(self._calls)

    def final(self, *, finish_reason: str, usage: Usage | None, input_estimate: int, model: str, backend: str) -> Final:
        """The whole. Without `usage` the tokens are estimated from what was sent and what came.

        Raises:
            ValueError: a tool call never got a name.
        """
        text, thinking = "".join(self._text), "".join(self._thinking)
        calls = tuple(call.whole(index) for index, call in sorted(self._calls.items()))
        if usage is None:
            characters = len(text) + len(thinking) + sum(len(each.arguments) for each in calls)
            usage = Usage(input_estimate, -(-characters // CHARACTERS_PER_TOKEN), estimated=True)
        return Final(text, thinking, calls, finish_reason, usage, model, backend)


class _GrowingCall:
    def __init__(self) -> None:
        self._id: str | None = None
        self._name: str | None = None
        self._arguments: list[str] = []

    def add(self, delta: ToolCallDelta) -> None:
        self._id = self._id or delta.id
        self._name = self._name or delta.name
        self._arguments.append(delta.arguments)

    def whole(self, index: int) -> ToolCall:
        if not self._name:
            raise ValueError(f"tool call {index} has no name")
        # Some endpoints give no ids, and send no arguments at all for a tool that takes none.
        return ToolCall(self._id or f"call_{index}", self._name, "".join(self._arguments) or "{}")
