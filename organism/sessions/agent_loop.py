"""The loop of an agent: ask the model, do what it wants done, tell it, until it has nothing more to do.

It talks to its session through `Voice`: events go out in the order of the contract, deltas only where somebody
listens. It knows nothing of storing, of cells, or of who follows.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, get_args

import orjson
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from organism.config import SessionAgent
from organism.errors import OrganismError, RunTimeout
from organism.llm.base import (
    BudgetExceeded,
    ChatMessage,
    Final,
    ModelError,
    ModelProtocolError,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from organism.llm.reply import CHARACTERS_PER_TOKEN, estimate_input_tokens
from organism.masking import mask_text
from organism.messages import new_id, now_ms
from organism.sessions.events import (
    AnyEvent,
    AssistantMessage,
    AssistantStreamingMessage,
    AssistantStreamingThinkingMessage,
    AssistantStreamingToolCall,
    AssistantThinkingMessage,
    FinishReason,
    SystemEvent,
    ToolCallEvent,
    ToolCallInfo,
    ToolInfo,
    ToolResultEvent,
)
from organism.sessions.tools.base import SessionTool, ToolContext, ToolFailed

logger = logging.getLogger(__name__)

KNOWN_REASONS = frozenset(get_args(FinishReason))
MAX_ERROR_CHARACTERS = 2000
TOOL_GRACE_S = 5.0
"""How long a tool may go on after it was cancelled."""


class Voice(Protocol):
    """The session, as its loop sees it."""

    @property
    def is_heard(self) -> bool:
        """Whether anybody gets deltas."""
        ...

    async def has_begun(self) -> None:
        """Returns when the beginning of the run has been shown, or cannot be.

        A model's answer that is there at once keeps the event loop busy: who follows would see nothing before it ends.
        """
        ...

    def say(self, event: AnyEvent) -> None:
        """Tells an event; one that is stored gets its number."""
        ...

    def messages(self) -> list[ChatMessage]:
        """What the model is told: prompt and history, cut to its window."""
        ...

    def stream(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> AsyncGenerator[StreamEvent]: ...

    def count(self, input_tokens: int, output_tokens: int) -> None: ...

    @property
    def session_tokens(self) -> int:
        """Of all runs of the session, this one too."""
        ...

    @property
    def is_failing(self) -> bool:
        """Whether a cancellation means that something went wrong, and is no abort."""
        ...


@dataclass(slots=True)
class _Turn:
    """One answer of the model while it grows."""

    message_id: str = field(default_factory=new_id)
    started_s: float = field(default_factory=time.perf_counter)
    first_s: float | None = None
    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    thinking_s: float | None = None
    calls: dict[int, tuple[str, str]] = field(default_factory=dict)  # id and name by index
    characters: int = 0  # of all that the model has said, thought and called
    is_counted: bool = False


class AgentLoop:
    """One run of an agent. `iterations`, `input_tokens` and `output_tokens` count as it goes."""

    def __init__(
        self, agent: SessionAgent, voice: Voice, tools: Mapping[str, SessionTool], context: ToolContext, max_bytes: int
    ) -> None:
        self.iterations = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.answer = ""
        self._agent = agent
        self._voice = voice
        self._tools = tools
        self._specs = [tool.spec for tool in tools.values()]
        self._context = context
        self._max_bytes = max_bytes
        self._limit: asyncio.Timeout | None = None
        self._has_given_up = False

    async def run(self) -> None:
        """Ends when the agent is done or has reached max_iterations.

        Raises:
            ModelError, RunTimeout: told as a system event already; partial text is kept.
            asyncio.CancelledError: partial text is kept, tools have ended.
        """
        limit = self._limit = asyncio.timeout(self._agent.timeout_s)
        try:
            async with limit:
                await self._iterate()
        except TimeoutError as error:
            if not limit.expired():
                raise
            timeout = RunTimeout(self._agent.timeout_s)
            self._complain(timeout)
            raise timeout from error
        except ModelError as error:
            self._complain(error)
            raise

    async def _iterate(self) -> None:
        while self.iterations < self._agent.max_iterations:
            self._check_budgets()
            self.iterations += 1
            final = await self._ask()
            if not final.tool_calls:
                return
            await self._call_all(_with_ids(final.tool_calls))
        text = f"stopped after {self.iterations} turns of the model (max_iterations of the agent)"
        self._voice.say(SystemEvent(level="warning", message=text))
        self._voice.say(AssistantMessage(content=self.answer, finish_reason="max_iterations", message_id=new_id()))

    def _check_budgets(self) -> None:
        used, limit = self.input_tokens + self.output_tokens, self._agent.max_tokens_per_run
        if limit is not None and used >= limit:
            raise BudgetExceeded("this run", used, limit)
        used, limit = self._voice.session_tokens, self._agent.max_tokens_per_session
        if limit is not None and used >= limit:
            raise BudgetExceeded("this session", used, limit)

    def _complain(self, error: OrganismError) -> None:
        self._voice.say(SystemEvent(level="error", message=mask_text(str(error)), details={"code": error.code}))

    # A turn of the model

    async def _ask(self) -> Final:
        turn, messages = _Turn(), self._voice.messages()
        try:
            async with aclosing(self._voice.stream(messages, self._specs)) as events:
                async for event in events:
                    if isinstance(event, Final):
                        self._finish(turn, event)
                        return event
                    if turn.first_s is None and self.iterations == 1 and self._voice.is_heard:
                        await self._voice.has_begun()
                    self._take(turn, event)
            raise ModelProtocolError("model", "the stream ended without a final message")
        except asyncio.CancelledError:
            is_late = self._limit is not None and self._limit.expired()
            self._count_partial(turn, messages)
            self._keep_partial(turn, "error" if is_late or self._voice.is_failing else "abort")
            raise
        except ModelError:
            self._count_partial(turn, messages)
            self._keep_partial(turn, "error")
            raise

    def _take(self, turn: _Turn, event: TextDelta | ThinkingDelta | ToolCallDelta) -> None:
        if turn.first_s is None:
            turn.first_s = time.perf_counter()
        if isinstance(event, TextDelta):
            if turn.thinking:
                self._end_thinking(turn)
            turn.characters += len(event.text)
            turn.text.append(event.text)
            if self._voice.is_heard:
                self._voice.say(AssistantStreamingMessage(content=event.text, message_id=turn.message_id))
        elif isinstance(event, ThinkingDelta):
            if not turn.thinking:
                turn.thinking_s = time.perf_counter()
            turn.characters += len(event.text)
            turn.thinking.append(event.text)
            if self._voice.is_heard:
                self._voice.say(AssistantStreamingThinkingMessage(content=event.text, message_id=turn.message_id))
        else:
            if turn.thinking:
                self._end_thinking(turn)
            self._take_call(turn, event)

    def _take_call(self, turn: _Turn, delta: ToolCallDelta) -> None:
        turn.characters += len(delta.arguments)
        call_id, name = turn.calls.get(delta.index, ("", ""))
        if delta.index not in turn.calls and turn.calls:
            self._end_call(turn, *turn.calls[max(turn.calls)])
        turn.calls[delta.index] = (call_id or delta.id or "", name or delta.name or "")
        if self._voice.is_heard:
            self._say_call(turn, *turn.calls[delta.index], delta.arguments)

    def _say_call(self, turn: _Turn, call_id: str, name: str, arguments: str, *, is_complete: bool = False) -> None:
        self._voice.say(
            AssistantStreamingToolCall(
                tool_call_id=call_id,
                tool_name=name,
                arguments=arguments,
                is_complete=is_complete,
                message_id=turn.message_id,
            )
        )

    def _end_call(self, turn: _Turn, call_id: str, name: str) -> None:
        if self._voice.is_heard:
            self._say_call(turn, call_id, name, "", is_complete=True)

    def _end_thinking(self, turn: _Turn) -> None:
        message_id = turn.message_id
        if self._voice.is_heard:
            self._voice.say(AssistantStreamingThinkingMessage(content="", is_complete=True, message_id=message_id))
        duration_ms = _ms(time.perf_counter() - (turn.thinking_s or turn.started_s))
        content = "".join(turn.thinking)
        self._voice.say(
            AssistantThinkingMessage(content=content, message_id=message_id, thinking_duration_ms=duration_ms)
        )
        turn.thinking.clear()

    def _finish(self, turn: _Turn, final: Final) -> None:
        turn.is_counted = True
        self._count(final.usage.input_tokens, final.usage.output_tokens)
        if turn.thinking:
            self._end_thinking(turn)
        if turn.text and self._voice.is_heard:
            self._voice.say(AssistantStreamingMessage(content="", is_complete=True, message_id=turn.message_id))
        if turn.calls:
            self._end_call(turn, *turn.calls[max(turn.calls)])
        self.answer = final.text or self.answer
        reason = "tool_calls" if final.tool_calls else final.finish_reason
        self._say_message(turn, final.text, reason if reason in KNOWN_REASONS else "stop", final.tool_calls)

    def _count(self, input_tokens: int, output_tokens: int) -> None:
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self._voice.count(input_tokens, output_tokens)

    def _count_partial(self, turn: _Turn, messages: Sequence[ChatMessage]) -> None:
        """What was broken off costs as well, or else who aborts in time would have it for nothing. No endpoint tells
        how much that was, so it is estimated."""
        if turn.first_s is not None and not turn.is_counted:
            self._count(estimate_input_tokens(messages, self._specs), turn.characters // CHARACTERS_PER_TOKEN)

    def _keep_partial(self, turn: _Turn, reason: FinishReason) -> None:
        if turn.thinking:
            self._end_thinking(turn)
        if turn.text:
            self.answer = "".join(turn.text)
            self._say_message(turn, self.answer, reason, ())

    def _say_message(self, turn: _Turn, text: str, reason: str, calls: Sequence[ToolCall]) -> None:
        infos = [ToolCallInfo(id=call.id, name=call.name, arguments=call.arguments) for call in _with_ids(calls)]
        self._voice.say(
            AssistantMessage(
                content=text,
                tool_calls=infos or None,
                finish_reason=cast(FinishReason, reason),
                message_id=turn.message_id,
                ttft_ms=None if turn.first_s is None else _ms(turn.first_s - turn.started_s),
                ttlt_ms=_ms(time.perf_counter() - turn.started_s),
            )
        )

    # Tools

    async def _call_all(self, calls: Sequence[ToolCall]) -> None:
        """Side by side. When the run is cancelled, so are they; one that does not end in time is abandoned."""
        for call in calls:
            self._say_call_begins(call)
        tasks = {asyncio.create_task(self._call(call), name=f"tool {call.name}"): call for call in calls}
        started_s = time.perf_counter()
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=TOOL_GRACE_S)
            self._has_given_up = True  # what a tool says after this is nobody's business: another run may be on
            raise
        finally:
            for task, call in tasks.items():
                if not task.done() or task.cancelled():
                    self._say_result(call, None, started_s, "the call was aborted")

    def _say_call_begins(self, call: ToolCall) -> None:
        tool = self._tools.get(call.name)
        spec = tool.spec if tool is not None else Tool(call.name, "", {})
        self._voice.say(
            ToolCallEvent(
                tool_call_id=call.id,
                name=call.name,
                arguments=_parsed(call.arguments),
                start_time=now_ms(),
                tool=ToolInfo(name=spec.name, description=spec.description, schema=spec.schema),
            )
        )

    async def _call(self, call: ToolCall) -> None:
        started_s = time.perf_counter()
        try:
            content, error = await self._result(call), None
        except ToolFailed as failure:
            content, error = None, str(failure)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            content, error = None, "something that the tool awaited was cancelled"
        except Exception as failure:  # somebody else's code: whatever it raises, the model is told and the run goes on
            content, error = None, f"{type(failure).__name__}: {failure}"
        if not self._has_given_up:
            self._say_result(call, content, started_s, error)

    async def _result(self, call: ToolCall) -> Any:
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolFailed(f"there is no tool {call.name!r}; there are: {', '.join(self._tools) or 'none'}")
        arguments = _parsed(call.arguments)
        if not isinstance(arguments, dict):
            raise ToolFailed("the arguments are no JSON object")
        _validate(arguments, tool.spec.schema)
        return self._limited(await tool.call(arguments, self._context))

    def _limited(self, content: Any) -> Any:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
        encoded = text.encode(errors="replace")
        if len(encoded) <= self._max_bytes:
            return content if isinstance(content, str) else json.loads(text)
        kept = encoded[: self._max_bytes].decode(errors="ignore")
        return f"{kept}\n[cut off: {len(encoded)} bytes, sessions.tools.max_result_bytes is {self._max_bytes}]"

    def _say_result(self, call: ToolCall, content: Any, started_s: float, error: str | None) -> None:
        self._voice.say(
            ToolResultEvent(
                tool_call_id=call.id,
                name=call.name,
                content="" if content is None else content,
                elapsed_ms=_ms(time.perf_counter() - started_s),
                error=None if error is None else mask_text(error)[:MAX_ERROR_CHARACTERS],
            )
        )


def _with_ids(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Each with an id of its own: some endpoints give none, or the same to all."""
    seen: set[str] = set()
    found: list[ToolCall] = []
    for index, call in enumerate(calls):
        call_id = call.id if call.id and call.id not in seen else f"{call.id or 'call'}_{index}"
        seen.add(call_id)
        found.append(ToolCall(call_id, call.name, call.arguments))
    return found


def _parsed(arguments: str) -> Any:
    """As a value, or the text itself where it is no JSON. No arguments at all are an empty object."""
    if not arguments.strip():
        return {}
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


@functools.lru_cache(maxsize=1000)
def _validator(schema: bytes) -> Validator:
    """Made once for each schema, given as JSON. Nothing is fetched for it: a schema may come from anywhere."""
    parsed = orjson.loads(schema)
    return validator_for(parsed, default=Draft202012Validator)(parsed, registry=Registry())


def _validate(arguments: dict[str, Any], schema: dict[str, Any]) -> None:
    validator = _validator(orjson.dumps(schema))
    try:
        problems = [
            f"{'.'.join(str(part) for part in each.absolute_path) or 'arguments'}: {each.message}"
            for each in validator.iter_errors(arguments)
        ]
    except Unresolvable as error:
        logger.warning("arguments of a tool are not validated, its schema refers to %s, which is not in it", error)
        return
    if problems:
        raise ToolFailed("the arguments do not fit the tool's schema: " + "; ".join(problems[:10]))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
