"""The provider without a model: it answers what it was told to. For tests, demos and organisms that are being built."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from organism.errors import ModelError
from organism.llm.base import (
    ChatMessage,
    Delta,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from organism.llm.reply import GrowingReply, estimate_input_tokens

MAX_REMEMBERED_CALLS = 1000
DEFAULT_MODEL = "scripted"


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What to answer; `error` is raised after all of the rest was streamed."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    error: ModelError | None = None


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """What the provider was asked."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[Tool, ...] = ()
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


Script = Callable[[ScriptedCall], "ScriptedReply | str"]


class ScriptedProvider:
    """Answers `script` in turn, from the start again after the last; or what a function makes of the call.

    With nothing to say it repeats the last message. `calls` holds what was asked, the latest 1,000.
    """

    def __init__(self, name: str = DEFAULT_MODEL, script: Sequence[ScriptedReply | str] | Script = ()) -> None:
        self.name = name
        self.calls: deque[ScriptedCall] = deque(maxlen=MAX_REMEMBERED_CALLS)
        self.is_closed = False
        self._script = script
        self._turn = 0

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> AsyncGenerator[StreamEvent]:
        """See Provider.stream. Text comes word by word."""
        call = ScriptedCall(tuple(messages), tuple(tools), model, temperature, max_tokens)
        self.calls.append(call)
        reply = self._next_reply(call)
        growing = GrowingReply()
        for delta in _deltas(reply):
            growing.add(delta)
            yield delta
        if reply.error is not None:
            raise reply.error
        yield growing.final(
            finish_reason="tool_calls" if reply.tool_calls else "stop",
            usage=None,
            input_estimate=estimate_input_tokens(messages, tools),
            model=model or DEFAULT_MODEL,
            backend=self.name,
        )

    async def aclose(self) -> None:
        self.is_closed = True

    def _next_reply(self, call: ScriptedCall) -> ScriptedReply:
        if callable(self._script):
            reply = self._script(call)
        elif self._script:
            reply = self._script[self._turn % len(self._script)]
            self._turn += 1
        else:
            reply = call.messages[-1].content if call.messages else ""
        return ScriptedReply(reply) if isinstance(reply, str) else reply


def _deltas(reply: ScriptedReply) -> list[Delta]:
    deltas: list[Delta] = [ThinkingDelta(word) for word in _words(reply.thinking)]
    deltas += [TextDelta(word) for word in _words(reply.text)]
    for index, call in enumerate(reply.tool_calls):
        deltas.append(ToolCallDelta(index, call.id, call.name))
        deltas.append(ToolCallDelta(index, arguments=call.arguments))
    return deltas


def _words(text: str) -> list[str]:
    """The words with the white space before each; joined they are the text again."""
    return re.findall(r"\s*\S+|\s+\Z", text)
