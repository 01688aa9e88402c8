"""A server that speaks OpenAI's chat completions over real HTTP and answers what it is told to, failures included.

In a test or notebook:

    async with FakeLlm(Reply(text="Hi")) as llm:
        ... Backend(base_url=llm.base_url) ...
        llm.script(Reply(status=500), Reply(text="Hello", tool_calls=(("read", '{"path": "a"}'),)))
        assert llm.requests[0].body["model"] == "any"

As a process of its own, which prints {"base_url": …} once it listens:

    python -m tests.fake_llm --port 0 --text "Hi there" --chunk-delay-s 0.01

There `POST /script` takes a JSON list of replies (the fields of Reply), `GET /requests` gives what was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

MAX_REMEMBERED_REQUESTS = 100_000


@dataclass(frozen=True)
class Reply:
    """How to answer one request. Chunks are one delta each: the words of thinking and text, the pieces of tool calls.

    tool_calls: (name, arguments as JSON) each; the arguments come in pieces of `arguments_piece` characters.
    status: other than 200 answers an error with `error` as its message, and Retry-After where `retry_after_s` is set.
    breaks_after, hangs_after, malformed_after: that many chunks, then the connection drops, nothing more comes, or
      something comes that is no JSON.
    is_held: begins only when FakeLlm.release is called.
    raw: sent as the whole body, as it is, of `content_type`.
    """

    text: str = "Hello from the fake model."
    thinking: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    arguments_piece: int = 8
    thinking_field: str = "reasoning_content"
    finish_reason: str | None = None
    usage: tuple[int, int] | None = (10, 5)
    status: int = 200
    error: str = "the fake model failed"
    retry_after_s: float | None = None
    first_byte_delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    breaks_after: int | None = None
    hangs_after: int | None = None
    malformed_after: int | None = None
    has_finish: bool = True
    has_done: bool = True
    has_comments: bool = False
    never_answers: bool = False
    is_held: bool = False
    raw: str | None = None
    content_type: str = "text/event-stream"

    @property
    def is_plain(self) -> bool:
        """Can be sent in one piece."""
        waits = self.chunk_delay_s or self.has_comments
        return not waits and (self.breaks_after, self.hangs_after, self.malformed_after) == (None, None, None)


@dataclass(frozen=True)
class Request:
    """A request that came; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Answer = Callable[[Any], Reply]


class _ConnectionBroken(Exception):
    """The fake drops the connection."""


class FakeLlm:
    """The server. Scripted replies are used up in turn; then comes `default`, a Reply or a function of the body."""

    def __init__(
        self, default: Reply | Answer | None = None, *, models: tuple[str, ...] = ("fake-model",), port: int = 0
    ) -> None:
        self.default = default or Reply()
        self.models = models
        self.requests: deque[Request] = deque(maxlen=MAX_REMEMBERED_REQUESTS)
        self.request_count = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.connection_count = 0
        self.abandoned_count = 0
        """Replies whose client went away before their end."""
        self._port = port
        self._replies: deque[Reply] = deque()
        self._released = asyncio.Event()
        self._changed = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FakeLlm:
        self._server = await asyncio.start_server(self._serve_connection, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *replies: Reply) -> None:
        """Answers these next."""
        self._replies.extend(replies)

    def release(self) -> None:
        """Lets all held replies go, and those to come."""
        self._released.set()

    async def wait_until(self, condition: Callable[[FakeLlm], bool], timeout_s: float = 10.0) -> None:
        """Returns once `condition` holds; it is looked at whenever a request begins or ends."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connection_count += 1
        try:
            client = _Client(reader, writer)
            while (request := await client.next_request()) is not None:
                await self._serve(request, client)
        except (_ConnectionBroken, ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()  # the server closes; ending normally keeps asyncio from complaining about it
        finally:
            writer.close()
            self._connections.discard(task)

    async def _serve(self, request: Request, client: _Client) -> None:
        if request.path.endswith("/chat/completions") and request.method == "POST":
            await self._serve_chat(request, client)
        elif request.path.endswith("/models"):
            data = [{"id": model, "object": "model", "created": 0, "owned_by": "fake"} for model in self.models]
            await client.send_json(200, {"object": "list", "data": data})
        elif request.path == "/script" and request.method == "POST":
            self.script(*(reply_of(fields) for fields in request.body))
            await client.send_json(200, {"scripted": len(self._replies)})
        elif request.path == "/requests":
            await client.send_json(200, {"count": self.request_count, "bodies": [each.body for each in self.requests]})
        else:
            await client.send_json(404, {"error": {"message": f"no such path: {request.path}"}})

    async def _serve_chat(self, request: Request, client: _Client) -> None:
        self.request_count += 1
        self.requests.append(request)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        await self._notify()
        try:
            is_whole = await client.unless_gone(self._answer(request, client))
            if not is_whole:
                self.abandoned_count += 1
                raise _ConnectionBroken
        finally:
            self.in_flight -= 1
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _next_reply(self, body: Any) -> Reply:
        if self._replies:
            return self._replies.popleft()
        return self.default if isinstance(self.default, Reply) else self.default(body)

    async def _answer(self, request: Request, client: _Client) -> None:
        reply = self._next_reply(request.body)
        if reply.is_held:
            await self._released.wait()
        if reply.never_answers:
            await _forever()
        if reply.first_byte_delay_s:
            await asyncio.sleep(reply.first_byte_delay_s)
        if reply.status != 200:
            headers = {} if reply.retry_after_s is None else {"Retry-After": f"{reply.retry_after_s:g}"}
            await client.send_json(reply.status, {"error": {"message": reply.error, "type": "fake"}}, headers)
        elif reply.raw is not None:
            await client.send(200, reply.raw.encode(), {"Content-Type": reply.content_type})
        elif request.body.get("stream"):
            await self._stream(reply, request.body, client)
        else:
            await client.send_json(200, _whole_answer(reply, request.body))

    async def _stream(self, reply: Reply, body: Any, client: _Client) -> None:
        await client.begin_stream(reply.content_type)
        if reply.is_plain:
            await client.send_chunk(b"".join(_events(reply, body)))
        else:
            async for event in _paced(reply, _events(reply, body)):
                await client.send_chunk(event)
        await client.end_stream()


class _Client:
    """One connection: reads requests, writes answers, and notices when the other side is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._read_ahead = b""

    async def next_request(self) -> Request | None:
        try:
            head = self._read_ahead + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        self._read_ahead = b""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        data = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, path, headers, orjson.loads(data) if data else None)

    async def unless_gone(self, answer: Any) -> bool:
        """Runs `answer` to its end, True; or as long as the client is there, False."""
        answering = asyncio.ensure_future(answer)
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and gone.done() and not gone.result():
                return False
            await answering
            return True
        finally:
            await _cancel(answering)
            await _cancel(gone)
            # A byte of the next request may have come in the meantime.
            self._read_ahead = gone.result() if not gone.cancelled() and gone.exception() is None else b""

    async def send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        await self.send(status, orjson.dumps(value), {"Content-Type": "application/json", **(headers or {})})

    async def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._writer.write(_head(status, {**headers, "Content-Length": str(len(body))}) + body)
        await self._writer.drain()

    async def begin_stream(self, content_type: str) -> None:
        self._writer.write(_head(200, {"Content-Type": content_type, "Transfer-Encoding": "chunked"}))
        await self._writer.drain()

    async def send_chunk(self, data: bytes) -> None:
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._writer.drain()

    async def end_stream(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()


def reply_of(fields: dict[str, Any]) -> Reply:
    """A Reply from JSON, where tuples are lists."""
    calls = tuple((name, arguments) for name, arguments in fields.get("tool_calls", ()))
    usage = tuple(fields["usage"]) if fields.get("usage") else fields.get("usage", Reply.usage)
    return Reply(**{**fields, "tool_calls": calls, "usage": usage})


def _events(reply: Reply, body: Any) -> Iterator[bytes]:
    """The stream, event by event: a delta each, then finish reason, usage and [DONE] in one piece."""
    model = body.get("model", "fake-model")
    for delta in _deltas(reply):
        yield _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "model": model})
    last = b""
    if reply.has_finish:
        choice = {"index": 0, "delta": {}, "finish_reason": _finish_reason(reply)}
        last += _event({"choices": [choice], "model": model})
    if reply.usage is not None and (body.get("stream_options") or {}).get("include_usage"):
        last += _event({"choices": [], "model": model, "usage": _usage(reply)})
    if reply.has_done:
        last += b"data: [DONE]\n\n"
    yield last


async def _paced(reply: Reply, events: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The events with the reply's delays and failures."""
    for number, event in enumerate(events):
        if number == reply.breaks_after:
            raise _ConnectionBroken
        if number == reply.hangs_after:
            await _forever()
        if number == reply.malformed_after:
            yield b"data: {this is no JSON\n\n"
        if reply.has_comments:
            yield b": keep-alive\n\n"
        if reply.chunk_delay_s:
            await asyncio.sleep(reply.chunk_delay_s)
        yield event


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for word in _words(reply.thinking):
        yield {reply.thinking_field: word}
    for word in _words(reply.text):
        yield {"content": word}
    for index, (name, arguments) in enumerate(reply.tool_calls):
        function = {"name": name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}
        for start in range(0, len(arguments), reply.arguments_piece):
            piece = arguments[start : start + reply.arguments_piece]
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _whole_answer(reply: Reply, body: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.thinking:
        message[reply.thinking_field] = reply.thinking
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(reply.tool_calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(reply)}
    shown = {"id": "fake", "object": "chat.completion", "created": 0, "model": body.get("model"), "choices": [choice]}
    return shown if reply.usage is None else {**shown, "usage": _usage(reply)}


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _usage(reply: Reply) -> dict[str, int]:
    prompt, completion = reply.usage or (0, 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps({"id": "fake", "object": "chat.completion.chunk", "created": 0, **value}) + b"\n\n"


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Fake", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+\Z", text)


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


async def _cancel(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _serve_until_killed(default: Reply, port: int) -> None:
    async with FakeLlm(default, port=port) as llm:
        sys.stdout.write(orjson.dumps({"base_url": llm.base_url}).decode() + "\n")
        sys.stdout.flush()
        await _forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--text", default=Reply.text)
    parser.add_argument("--chunk-delay-s", type=float, default=0.0)
    parser.add_argument("--first-byte-delay-s", type=float, default=0.0)
    asked = parser.parse_args()
    default = Reply(asked.text, chunk_delay_s=asked.chunk_delay_s, first_byte_delay_s=asked.first_byte_delay_s)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_killed(default, asked.port))


if __name__ == "__main__":
    main()
