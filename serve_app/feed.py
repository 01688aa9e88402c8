"""One long poll per replica: what happens in the organism reaches the live picture and every client."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Self

from organism.errors import OrganismError, OrganismUnreachable
from organism.ref import Event, EventBatch, OrganismRef, Snapshot
from organism.storage.base import MessageFilter
from serve_app.frames import (
    Frame,
    agent_frame,
    frame_of,
    message_frame,
    thread_created_frame,
    thread_updated_frame,
)
from serve_app.hub import Hub
from serve_app.live import Live
from serve_app.payload_classes import PayloadClasses

POLL_S = 10.0
"""How long a poll waits at the pump when nothing happens."""

UNWATCHED_S = 0.05
"""Between two polls while no client follows: a poll for each commit would take a tenth of the pump's time."""

LATE_S = 20.0
"""How much longer than that an answer may take before the pump counts as unreachable."""

FIRST_DELAY_S = 0.05
MAX_DELAY_S = 1.0

PAGE = 1000
"""Log entries that are read at once to close a gap."""

logger = logging.getLogger(__name__)


class Feed:
    """Follows the organism through restarts of the pump, without a gap or a double in the messages.

    Other events that were missed show as differences between the picture and a new snapshot.
    """

    def __init__(self, organism: OrganismRef, live: Live, hub: Hub, classes: PayloadClasses) -> None:
        self._organism = organism
        self._live = live
        self._hub = hub
        self._classes = classes
        self._incarnation = ""
        self._cursor = 0
        self._synced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="feed")
        self._task.add_done_callback(_log_failure)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None):
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def wait_synced(self, timeout_s: float) -> bool:
        """Waits for the first snapshot; False when there is none in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._synced.wait()
        except TimeoutError:
            return False
        return True

    def check(self) -> None:
        """Raises what ended the feed, if anything did: a bug, and this replica is of no use any more."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def refresh(self) -> None:
        """Takes agents, configuration and payload classes anew: after a reload."""
        snapshot = await self._organism.snapshot()
        await self._classes.load(snapshot)
        self._live.define(snapshot)

    async def _run(self) -> None:
        delay_s, complaint = FIRST_DELAY_S, ""
        while True:
            try:
                await self._poll()
                if not len(self._hub):
                    await asyncio.sleep(UNWATCHED_S)
                delay_s, complaint = FIRST_DELAY_S, ""
            except OrganismError as error:
                if str(error) != complaint:  # once, not with every attempt
                    logger.warning("event feed interrupted: %s", error)
                complaint = str(error)
                self._live.reachable = False
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, MAX_DELAY_S)

    async def _poll(self) -> None:
        if not self._live.known:
            await self._start()
        batch = await self._next_batch()
        if batch.missed or batch.incarnation != self._incarnation:
            await self._catch_up()
        else:
            await self._apply(batch)

    async def _next_batch(self) -> EventBatch:
        # After a failure the first answer must come at once: it shows that the organism is back.
        wait_s = POLL_S if self._live.reachable else 0.0
        try:
            async with asyncio.timeout(wait_s + LATE_S):
                return await self._organism.events(self._incarnation, self._cursor, wait_s)
        except TimeoutError:
            raise OrganismUnreachable("the event feed got no answer") from None

    async def _start(self) -> None:
        snapshot = await self._organism.snapshot()
        await self._classes.load(snapshot)
        self._hub.seq = snapshot.seq
        self._take(snapshot)
        self._synced.set()

    def _take(self, snapshot: Snapshot) -> None:
        self._live.take(snapshot)
        self._incarnation = snapshot.incarnation
        self._cursor = snapshot.cursor

    async def _apply(self, batch: EventBatch) -> None:
        if any(event.kind == "reloaded" for event in batch.events):
            await self.refresh()
        frames: list[Frame] = []
        states: list[Frame] = []
        for event in batch.events:
            if event.kind == "agent_state":
                self._live.put_agent(event.value)
                states.append(agent_frame(event.value, event.seq))
            else:
                frames += self._frames_of(event)
        self._live.count(batch)
        self._cursor = batch.cursor
        self._hub.publish(frames)
        self._hub.publish_states(states, self._live.limits.agent_state_interval_s)

    def _frames_of(self, event: Event) -> list[Frame]:
        if event.kind == "message":
            if event.value.seq <= self._hub.seq:
                return []
            self._hub.seq = event.value.seq
        elif event.kind in ("thread_created", "thread_updated"):
            self._live.put_thread(event.value, new=event.kind == "thread_created")
        # Thousands of messages a second pass here also while nobody watches.
        return [frame_of(event)] if len(self._hub) else []

    async def _catch_up(self) -> None:
        """Closes the gap to a new snapshot: messages from the log, the rest from what differs."""
        snapshot = await self._organism.snapshot()
        await self._classes.load(snapshot)
        if snapshot.seq < self._hub.seq:
            self._start_over(snapshot)
            return
        await self._publish_log_until(snapshot.seq)
        frames = self._differing_threads(snapshot.threads)
        states = self._differing_agents(snapshot.agents)
        self._take(snapshot)
        self._hub.publish(frames)
        self._hub.publish_states(states, self._live.limits.agent_state_interval_s)

    async def _publish_log_until(self, seq: int) -> None:
        while self._hub.seq < seq:
            page = await self._organism.message_page(MessageFilter(after_seq=self._hub.seq, until_seq=seq), PAGE)
            self._hub.seq = page[-1].seq if page else seq
            self._hub.publish([message_frame(message) for message in page])

    def _differing_threads(self, views: list[dict[str, Any]]) -> list[Frame]:
        frames: list[Frame] = []
        known = self._live.threads()
        for view in reversed(views):
            if view["id"] not in known:
                frames.append(thread_created_frame(view))
            if known.get(view["id"]) != view:
                frames.append(thread_updated_frame(view))
        return frames

    def _differing_agents(self, views: list[dict[str, Any]]) -> list[Frame]:
        known = self._live.agent_views()
        return [agent_frame(view) for view in views if known.get(view["name"]) != view]

    def _start_over(self, snapshot: Snapshot) -> None:
        """Another log than before (storage in memory, or replaced): every client gets a new `connected`."""
        logger.warning("the log now ends at seq %d, it was at %d: clients start over", snapshot.seq, self._hub.seq)
        self._hub.seq = snapshot.seq
        self._take(snapshot)
        self._hub.start_over(Frame("connected", None, self._live.connected_text(snapshot.seq)))


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the event feed ended; this replica must be replaced", exc_info=error)
