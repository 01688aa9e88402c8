"""Every WebSocket client of this replica, and how events reach all of them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol, Self

from serve_app.frames import Frame

TICK_S = 0.25
"""How exactly heartbeats and stalled clients are timed."""

MOST_UNKNOWN = 1000
"""Connections at once that have not said who they are: what such a one may send is kept until it has, or is closed."""


def places_of_unknown(max_clients: int) -> int:
    """How many may wait to say who they are: no more than a quarter, so that others find a place."""
    return min(max(1, max_clients // 4), MOST_UNKNOWN)


class Subscriber(Protocol):
    """A client as the hub sees it; none of its methods may wait."""

    def offer(self, frames: list[Frame], seq: int) -> None: ...

    def start_over(self, connected: Frame) -> None: ...

    def tick(self, now_s: float) -> None: ...


class Hub:
    """Hands each batch of frames to every client, and agent_state at most once per agent and interval.

    seq: the last log position whose message was handed on. A client added now gets everything behind it.
    unknown: connections that have not said yet who they are; they are no clients.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.unknown = 0
        self._clients: set[Subscriber] = set()
        self._held_states: dict[str, Frame] = {}
        self._interval_end: asyncio.TimerHandle | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._ticking = asyncio.create_task(self._tick(), name="hub")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None):
        assert self._ticking is not None
        self._ticking.cancel()
        await asyncio.wait([self._ticking])
        if self._interval_end is not None:
            self._interval_end.cancel()

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: Subscriber) -> None:
        self._clients.add(client)

    def remove(self, client: Subscriber) -> None:
        self._clients.discard(client)

    def publish(self, frames: list[Frame]) -> None:
        if not frames:
            return
        for client in self._clients:
            client.offer(frames, self.seq)

    def publish_states(self, frames: list[Frame], interval_s: float) -> None:
        """Publishes the agent_state frames now, or with the end of the running interval, the latest per agent."""
        if self._interval_end is None:
            self._publish_and_rest(frames, interval_s)
        else:
            self._held_states.update((frame.agents[0], frame) for frame in frames)

    def _publish_and_rest(self, frames: list[Frame], interval_s: float) -> None:
        self._interval_end = None
        if not frames:
            return
        self.publish(list({frame.agents[0]: frame for frame in frames}.values()))
        if interval_s > 0:
            self._interval_end = asyncio.get_running_loop().call_later(interval_s, self._flush_states, interval_s)

    def _flush_states(self, interval_s: float) -> None:
        held, self._held_states = self._held_states, {}
        self._publish_and_rest(list(held.values()), interval_s)

    def start_over(self, connected: Frame) -> None:
        """The log is another one: clients forget their position and get the new picture."""
        for client in self._clients:
            client.start_over(connected)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now_s = asyncio.get_running_loop().time()
            for client in tuple(self._clients):
                client.tick(now_s)
