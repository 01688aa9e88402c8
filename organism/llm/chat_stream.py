"""Reads the event stream of OpenAI's chat completions, bytes to deltas. Pure, no I/O.

Endpoints that call themselves compatible differ; what is tolerated here was seen: comments to keep the connection
alive, no `[DONE]`, no usage, reasoning under two names, tool calls without index or id, or all with index 0.
"""

from __future__ import annotations

from typing import Any

import orjson

from organism.llm.base import Delta, Final, TextDelta, ThinkingDelta, ToolCallDelta, Usage
from organism.llm.reply import GrowingReply

MAX_LINE_BYTES = 8_000_000
"""A line longer than this is no event, but something else that would fill the memory."""


class MalformedStream(Exception):
    """The bytes are no chat completion stream."""


class ErrorInStream(Exception):
    """The endpoint reported an error as an event; `status` is what it says of itself, where it says a number."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message, status)
        self.message = message
        self.status = status


class ChatStream:
    """One reply being read. `feed` bytes as they come; at the end ask `is_complete` and take `final`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._reply = GrowingReply()
        self._call_ids: list[str | None] = []
        self._call_numbers: dict[int, int] = {}
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._model = ""
        self.is_done = False

    @property
    def is_complete(self) -> bool:
        """The model has said all: the stream may end here."""
        return self.is_done or self._finish_reason is not None

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that these bytes complete; `data` may end anywhere.

        Raises:
            MalformedStream: see there.
            ErrorInStream: see there.
        """
        self._buffer += data
        # By hand, as httpx would also split lines at U+2028, which JSON may hold as it is.
        *lines, rest = self._buffer.split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise MalformedStream(f"a line of more than {MAX_LINE_BYTES} bytes")
        self._buffer = rest
        deltas: list[Delta] = []
        for line in lines:
            self._read_line(line.rstrip(b"\r"), deltas)
        return deltas

    def final(self, *, input_estimate: int, asked_model: str, backend: str) -> Final:
        """The whole reply, once `is_complete`.

        Raises:
            MalformedStream: a tool call without a name.
        """
        ended = self._finish_reason or ("tool_calls" if self._reply.has_tool_calls else "stop")
        try:
            return self._reply.final(
                finish_reason=ended,
                usage=self._usage,
                input_estimate=input_estimate,
                model=self._model or asked_model,
                backend=backend,
            )
        except ValueError as error:
            raise MalformedStream(str(error)) from error

    def _read_line(self, line: bytearray, deltas: list[Delta]) -> None:
        if self.is_done or not line.startswith(b"data:"):
            return  # blank lines end events, `:` starts a comment, `event:` and `id:` tell us nothing
        data = line[5:].strip()
        if data == b"[DONE]":
            self.is_done = True
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise MalformedStream(f"an event that is no JSON: {_excerpt(data)}") from error
        try:
            self._read_chunk(chunk, deltas)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError) as error:
            raise MalformedStream(f"an event of another form: {_excerpt(data)}") from error

    def _read_chunk(self, chunk: dict[str, Any], deltas: list[Delta]) -> None:
        if chunk.get("error"):
            raise _error_in(chunk["error"])
        self._model = self._model or _text(chunk.get("model"))
        if usage := chunk.get("usage"):
            self._usage = Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
        if not (choices := chunk.get("choices")):
            return
        choice = choices[0]
        self._read_delta(choice.get("delta") or {}, deltas)
        self._finish_reason = _text(choice.get("finish_reason")) or self._finish_reason

    def _read_delta(self, delta: dict[str, Any], deltas: list[Delta]) -> None:
        found: list[Delta] = []
        if thinking := _text(delta.get("reasoning_content") or delta.get("reasoning")):
            found.append(ThinkingDelta(thinking))
        if text := _text(delta.get("content")):
            found.append(TextDelta(text))
        found += [self._tool_call_delta(fragment) for fragment in delta.get("tool_calls") or ()]
        for each in found:
            self._reply.add(each)
        deltas += found

    def _tool_call_delta(self, fragment: dict[str, Any]) -> ToolCallDelta:
        function = fragment.get("function") or {}
        call_id = _text(fragment.get("id")) or None
        name = _text(function.get("name")) or None
        number = self._call_number(fragment.get("index"), call_id, name)
        return ToolCallDelta(number, call_id, name, _text(function.get("arguments")))

    def _call_number(self, said: int | None, call_id: str | None, name: str | None) -> int:
        """Our number of the call that a fragment belongs to, which calls itself number `said`."""
        if said is None:
            begins_call = name is not None or not self._call_ids
            number = len(self._call_ids) - 1
        else:
            number = self._call_numbers.get(said, -1)
            begins_call = number < 0 or (call_id and name and call_id != self._call_ids[number])
        if begins_call:
            number = len(self._call_ids)
            self._call_ids.append(call_id)
        if said is not None:
            self._call_numbers[said] = number
        return number


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _error_in(error: Any) -> ErrorInStream:
    if not isinstance(error, dict):
        return ErrorInStream(str(error), None)
    code = error.get("code") or error.get("status")
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdecimal()) else None
    return ErrorInStream(str(error.get("message") or error), status)


def _excerpt(data: bytes | bytearray) -> str:
    return bytes(data[:100]).decode("utf-8", "replace")
