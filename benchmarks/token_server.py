"""A model that costs little, since it shares the machine with the server it serves: 50 tokens at once, always the same.

    python benchmarks/token_server.py --port 9000

Speaks OpenAI's streaming protocol (chat completions over server-sent events).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import cast

import uvloop

TOKENS = 50
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


def reply() -> bytes:
    """A whole HTTP answer with one chunk a token."""

    def chunk(delta: dict[str, str], finish: str | None = None, **more: object) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tokens"}
        return b"data: " + json.dumps(head | {"choices": [choice]} | more).encode() + b"\n\n"

    usage = {"prompt_tokens": 20, "completion_tokens": TOKENS, "total_tokens": 20 + TOKENS}
    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk({"content": f"token{number} "}) for number in range(TOKENS)]
    chunks += [chunk({}, "stop", usage=usage), b"data: [DONE]\n\n"]
    body = b"".join(chunks)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Answering(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(HEAD_END)) >= 0:
            head = self._buffer[:head_end].lower()
            length_at = head.find(LENGTH)
            size = int(head[length_at + len(LENGTH) :].split(b"\r", 1)[0]) if length_at >= 0 else 0
            end = head_end + len(HEAD_END) + size
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            assert self._transport is not None
            self._transport.write(self._answer)


async def serve(port: int) -> None:
    answer = reply()
    server = await asyncio.get_running_loop().create_server(lambda: Answering(answer), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
