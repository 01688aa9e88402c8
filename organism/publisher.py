"""What happened, for those who follow: a bounded memory of events, read by long polls."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from organism.messages import Message, new_id
from organism.ref import Event

MAX_EVENTS = 50_000
MAX_BYTES = 64_000_000
QUIET_AFTER_S = 60.0


class _Batch(NamedTuple):
    first: int  # cursor of its first event
    events: list[Event]
    payload_bytes: int


class Publisher:
    """Keeps the last events; a cursor counts all there ever were in this incarnation.

    While nobody has polled for a minute events are counted, not kept: the first to come back learns that it missed
    some and takes a snapshot.
    """

    def __init__(self) -> None:
        self.incarnation = new_id()
        self.cursor = 0
        self._batches: deque[_Batch] = deque()
        self._kept = 0
        self._kept_bytes = 0
        self._news = asyncio.Event()
        self._last_poll_s = float("-inf")

    def publish(self, events: list[Event]) -> None:
        if not events:
            return
        first = self.cursor
        self.cursor += len(events)
        if asyncio.get_running_loop().time() - self._last_poll_s > QUIET_AFTER_S:
            self._batches.clear()
            self._kept = self._kept_bytes = 0
            return
        size = sum([len(each.value.payload) for each in events if type(each.value) is Message])
        self._batches.append(_Batch(first, events, size))
        self._kept += len(events)
        self._kept_bytes += size
        while self._kept > MAX_EVENTS or (self._kept_bytes > MAX_BYTES and len(self._batches) > 1):
            gone = self._batches.popleft()
            self._kept -= len(gone.events)
            self._kept_bytes -= gone.payload_bytes
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, cursor: int, timeout_s: float) -> None:
        """Returns when there is something behind `cursor`, or after the timeout."""
        self.watch()
        if self.cursor != cursor or timeout_s <= 0:  # a cursor that is ahead is not ours: the answer is "missed"
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            self.watch()

    def watch(self) -> None:
        """Somebody follows: events are kept from now on."""
        self._last_poll_s = asyncio.get_running_loop().time()

    def since(self, incarnation: str, cursor: int) -> tuple[list[Event], bool]:
        """All events behind the cursor, and whether some of them are missed."""
        if incarnation != self.incarnation or cursor > self.cursor:
            return [], True
        if cursor == self.cursor:
            return [], False
        if not self._batches or self._batches[0].first > cursor:
            return [], True
        found: list[Event] = []
        for first, events, _ in self._batches:
            if first >= cursor:
                found.extend(events)
            elif first + len(events) > cursor:
                found.extend(events[cursor - first :])
        return found, False
