"""A session asked over HTTP, through whatever happens to the server below it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.end_to_end.up import Up

WITHIN_S = 40.0


class Talk:
    """One session, asked over HTTP."""

    def __init__(self, http: httpx.AsyncClient, session_id: str) -> None:
        self.http = http
        self.id = session_id

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        return await self.http.post(f"/api/v1/sessions/{path}", json={"sessionId": self.id, **fields})

    async def stored(self) -> list[dict[str, Any]]:
        answer = await self.http.get("/api/v1/sessions/events", params={"sessionId": self.id, "limit": 1000})
        answer.raise_for_status()
        return answer.json()["events"]

    @asynccontextmanager
    async def streaming(self, query: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        body = {"sessionId": self.id, "query": query}
        async with self.http.stream("POST", "/api/v1/sessions/query/stream", json=body) as answer:
            assert answer.status_code == 200
            yield events_of(answer)

    async def stream_and(self, query: str, harm: Callable[[], None]) -> None:
        """Does harm in the middle of an answer, and reads on."""
        async with self.streaming(query) as events:
            for _ in range(12):
                await anext(events)
            harm()
            async for _ in events:
                pass

    async def watch(self, found: list[dict[str, Any]]) -> None:
        """Collects all stored events into `found`, through broken connections, as EventSource does; never ends."""
        while True:
            after = max((event["seq"] for event in found), default=0)
            url = f"/api/v1/sessions/events/stream?sessionId={self.id}"
            try:
                async with self.http.stream("GET", url, headers={"last-event-id": str(after)}) as answer:
                    if answer.status_code == 200:
                        async for event in events_of(answer):
                            found += [event] if "seq" in event else []
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def events_of(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def talking(up: Up) -> AsyncIterator[Talk]:
    async with httpx.AsyncClient(base_url=up.url, timeout=WITHIN_S, trust_env=False) as http:
        answer = await http.post("/api/v1/sessions/create", json={})
        assert answer.status_code == 201, answer.text
        yield Talk(http, answer.json()["sessionId"])


async def eventually(call: Any, what: str) -> Any:
    """Waits until the async `call` returns something true."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                if found := await call():
                    return found
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(what)


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def check_stored(events: list[dict[str, Any]]) -> None:
    """Numbered without gaps, and every run has one end, before the next one begins."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    runs = [kind for kind in types(events) if kind in ("agent_run_start", "agent_run_end")]
    assert runs == ["agent_run_start", "agent_run_end"] * (len(runs) // 2)
