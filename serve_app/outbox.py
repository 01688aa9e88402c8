"""What waits for one WebSocket client: bounded, filtered, without any I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from organism.access.principal import LOCAL, Principal
from serve_app.frames import Filter, Frame, lagged_text, sees

MAX_QUEUED_CHARS = 32_000_000
"""Text that waits for one client, whatever the number of its events."""


@dataclass(slots=True)
class Replay:
    """Log entries to send before live ones: those behind `after_seq`, not older than `since_ms`."""

    after_seq: int
    since_ms: int | None = None


class Outbox:
    """The queue of one client. `offer` never waits: what does not fit is skipped, and the client is told.

    principal: who the client is; what it may not see does not get in.
    filter: what the client wants, None for nothing. only_messages: as /ws/messages, messages and in their bare form.
    replay: set while the client is being sent old messages; live messages are left out then (they come from the
      log), and other events wait until it is done.
    """

    def __init__(
        self, max_frames: int, wanted: Filter | None, principal: Principal = LOCAL, *, only_messages: bool = False
    ) -> None:
        self._max_frames = max_frames
        self._only_messages = only_messages
        self._principal = principal
        self._is_bound = principal.bounds is not None
        self._filter = wanted
        self._after_seq = 0
        self._replies: list[str] = []
        self._queue: list[Frame] = []
        self._queued_chars = 0
        self._states: dict[str, Frame] = {}
        self._skipped: tuple[int, int] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.replay: Replay | None = None

    @property
    def filter(self) -> Filter | None:
        return self._filter

    def subscribe(self, wanted: Filter | None, after_seq: int, replay: Replay | None) -> None:
        """From now on: live messages behind `after_seq` that pass `wanted`, and of what waits what passes it too."""
        self._filter = wanted
        self._after_seq = after_seq
        self.replay = replay
        self._skipped = None
        waiting, states, self._queue, self._queued_chars, self._states = self._queue, self._states, [], 0, {}
        if wanted is not None:
            for frame in (*waiting, *states.values()):
                # Old messages come from the log where there is a replay.
                if wanted.passes(frame) and (replay is None or frame.kind != "message"):
                    self._put(frame, after_seq)
        self._wake()

    def end_replay(self, after_seq: int) -> None:
        """The log has been sent up to `after_seq`; live messages behind it follow."""
        self._after_seq = after_seq
        self.replay = None

    def offer(self, frames: Iterable[Frame], seq: int) -> None:
        """Queues the frames that the client wants; `seq` is where the log stands, for events without one."""
        if self._filter is None:
            return
        for frame in frames:
            if self._wants(frame):
                self._put(frame, seq)
        self._wake()

    def start_over(self, connected: Frame) -> None:
        """The log is another one: forgets the position in the old one."""
        self.subscribe(self._filter, 0, None)
        self.offer([connected], 0)

    def reply(self, text: str) -> None:
        """Queues an answer, ahead of the events; never dropped, so the caller bounds how many there are."""
        self._replies.append(text)
        self._wake()

    def _wants(self, frame: Frame) -> bool:
        if frame.kind == "message":
            if self.replay is not None or (frame.seq is not None and frame.seq <= self._after_seq):
                return False
        elif self._only_messages:
            return False
        if (self._is_bound or frame.kind == "session_state") and not sees(self._principal, frame):
            return False
        return self._filter is not None and self._filter.passes(frame)

    def _put(self, frame: Frame, seq: int) -> None:
        if frame.kind == "agent_state":
            self._states[frame.agents[0]] = frame
        elif self._skipped or len(self._queue) >= self._max_frames or self._queued_chars > MAX_QUEUED_CHARS:
            self._skip(seq if frame.seq is None else frame.seq)
        else:
            self._queue.append(frame)
            self._queued_chars += len(frame.text)

    def text_of(self, frame: Frame) -> str:
        """The frame as this client is sent it."""
        return frame.log_text if self._only_messages else frame.text

    def _skip(self, seq: int) -> None:
        first, last = self._skipped or (seq, seq)
        self._skipped = (min(first, seq), max(last, seq))

    def take(self) -> tuple[list[str], list[str]]:
        """Everything that waits, in the order to send it: replies, then events. Both are empty afterwards."""
        replies, self._replies = self._replies, []
        if self.replay is not None:
            return replies, []
        events = [frame.log_text for frame in self._queue] if self._only_messages else [f.text for f in self._queue]
        self._queue, self._queued_chars = [], 0
        if self._skipped is not None:
            events.append(lagged_text(*self._skipped))
            self._skipped = None
        if self._states:
            events.extend(frame.text for frame in self._states.values())
            self._states.clear()
        return replies, events

    async def ready(self) -> None:
        """Returns when there is something to take or to replay."""
        while not (self._replies or self._queue or self._states or self._skipped or self.replay):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
