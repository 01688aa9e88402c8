"""Clients of the API that bear faults: one sends again what was not accepted, one resumes its stream with `since`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from organism.messages import Accepted

AGAIN_S = 0.1
SOON_S = 60.0


async def until(holds: Callable[[], Any], what: str, within_s: float = SOON_S) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


class Load:
    """Injects messages to `first` without end. unanswered: of these nobody knows whether they were accepted."""

    SENDERS = 4
    MESSAGES_PER_THREAD = 10

    def __init__(self, url: str) -> None:
        self.url = url
        self.accepted: list[Accepted] = []
        self.unanswered = 0
        self._goes_on = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Goes on inside this context, which begins when the first messages are accepted."""
        self._goes_on = True
        async with (
            httpx.AsyncClient(timeout=SOON_S, trust_env=False) as client,
            asyncio.TaskGroup() as senders,
        ):
            for number in range(self.SENDERS):
                senders.create_task(self._send(client, str(number)))
            await self.some_more()
            yield
            self._goes_on = False

    async def some_more(self, count: int = 50) -> None:
        """Waits until so many more injects are accepted."""
        wanted = len(self.accepted) + count
        await until(lambda: len(self.accepted) >= wanted, f"{count} more accepted")

    async def _send(self, client: httpx.AsyncClient, sender: str) -> None:
        thread_id: str | None = None
        number = 0
        while self._goes_on:
            body = {"to": "first", "payload": {"text": f"{sender}.{number}"}, "thread_id": thread_id}
            accepted = await self._inject(client, body)
            if accepted is not None:
                self.accepted.append(accepted)
                number += 1
                thread_id = accepted.thread_id if number % self.MESSAGES_PER_THREAD else None

    async def _inject(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Accepted | None:
        try:
            answer = await client.post(f"{self.url}/api/v1/inject", json=body)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.is_success:
            fields = answer.json()
            return Accepted(fields["thread_id"], fields["message_id"], fields["seq"])
        assert answer is None or answer.is_server_error, answer.text
        self.unanswered += 1
        await asyncio.sleep(AGAIN_S)
        return None


class Follower:
    """Follows `/ws` or `/ws/messages` from the beginning of the log. seqs: of all messages, as they came."""

    def __init__(self, url: str, path: str) -> None:
        self.seqs: list[int] = []
        self.lost_streams = 0
        self._url = url.replace("http", "ws", 1)
        self._path = path

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow())
            yield
            following.cancel()

    @property
    def last_seq(self) -> int:
        return self.seqs[-1] if self.seqs else 0

    async def _follow(self) -> None:
        while True:
            try:
                async with self._stream() as stream:
                    async for text in stream:
                        self._take(orjson.loads(text))
            except (OSError, ConnectionClosed, InvalidHandshake):
                self.lost_streams += 1
                await asyncio.sleep(AGAIN_S)

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[ClientConnection]:
        query = f"?since={self.last_seq}" if self._path == "/ws" else ""
        async with connect(f"{self._url}{self._path}{query}", max_size=None, proxy=None) as stream:
            if not query:
                subscribe = {"cmd": "subscribe", "filter": {"since": self.last_seq}}
                await stream.send(orjson.dumps(subscribe).decode())
            yield stream

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("event", "message")  # /ws/messages sends messages as they are
        assert kind not in ("lagged", "error"), event
        if kind == "message":
            self.seqs.append(event["seq"])
