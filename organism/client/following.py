"""Following a session, and one run of it, through lost connections and restarts of the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from organism.client.errors import ClientError, ConnectionLost, SessionNotFound
from organism.client.events import Event, UnknownEvent
from organism.client.http import Http
from organism.client.patience import Patience, is_passing
from organism.sessions.events import AgentRunEnd

Events = AsyncGenerator[Event]

_LOOK_BACK = 1000  # events in which a run is looked for whose first event did not arrive


class Seen:
    """How far a session was read; `seq` None: not at all."""

    def __init__(self, seq: int | None = None) -> None:
        self.seq = seq
        self._missing: tuple[int, int] | None = None

    def is_new(self, event: Event) -> bool:
        """Whether to show it; deltas are never stored, so they cannot come twice."""
        return event.seq is None or self.seq is None or event.seq > self.seq

    def is_gap_before(self, event: Event) -> bool:
        """Whether events are missing before this one. A gap found twice is one of the storage, which lost an event."""
        if event.seq is None or self.seq is None or event.seq <= self.seq + 1:
            return False
        known, self._missing = self._missing, (self.seq, event.seq)
        return known != self._missing

    def note(self, event: Event) -> None:
        if event.seq is not None:
            self.seq = event.seq


async def follow(http: Http, session_id: str, seen: Seen, patience: Patience) -> Events:
    """Stored events behind `seen`, then what happens, each once and in order; does not end by itself.

    Raises:
        ClientError: the server refuses, or could not be reached for as long as `patience` lasts.
    """
    while True:
        lost: ClientError = ConnectionLost(http.url, "the server ended the stream")
        try:
            params = {"sessionId": session_id, "after": seen.seq or 0}
            async with http.stream("GET", "sessions/events/stream", params=params) as batches:
                async for batch in batches:
                    patience.restore()
                    if _is_torn(batch, seen):
                        break
                    for event in _new_of(batch, seen):
                        yield event
        except ClientError as error:
            lost = error
        await patience.wait(lost)


def _is_torn(batch: list[Event], seen: Seen) -> bool:
    first = next((event for event in batch if event.seq is not None), None)
    return first is not None and seen.is_gap_before(first)


def _new_of(batch: list[Event], seen: Seen) -> list[Event]:
    new = []
    for event in batch:
        if seen.is_new(event):
            seen.note(event)
            new.append(event)
    return new


async def watch(http: Http, session_id: str, after: int | None, patience_s: float | None) -> Events:
    """Everything that happens in a session, for ever; ends when the session is deleted.

    after: the seq to start behind, 0 for all; None starts now.
    """
    stored = await http.get("sessions/details", sessionId=session_id)  # tells of an unknown session, too
    seen = Seen(stored["session"]["lastSeq"] if after is None else after)
    async with aclosing(follow(http, session_id, seen, Patience(patience_s))) as events:
        try:
            async for event in events:
                yield event
        except SessionNotFound:
            return


async def run(http: Http, path: str, body: Mapping[str, Any], patience_s: float | None) -> Events:
    """Asks, and yields what happens until the run's agent_run_end, through lost connections.

    `body` goes to `path`, which answers with the stream of the run. Deltas that were sent while there was no
    connection are missing; the message that they belong to is not.
    """
    seen, session_id, substitute = Seen(), body.get("sessionId"), None
    lost: ClientError | None = None
    async with http.stream("POST", path, body=body) as batches:
        try:
            async for batch in batches:
                for event in _new_of(batch, seen):
                    if isinstance(event, AgentRunEnd) and event.seq is None:
                        substitute = event  # the server lost sight of the run, too
                        break
                    if isinstance(event, UnknownEvent) and event.type == "session_created":
                        session_id = event.data["sessionId"]
                    yield event
                    if isinstance(event, AgentRunEnd):
                        return
        except ClientError as error:
            lost = error
    if session_id is None or (lost is not None and not is_passing(lost)):
        raise lost or ConnectionLost(http.url, "the stream ended before the session was created")
    patience = Patience(patience_s)
    try:
        if seen.seq is None:
            seen.seq = await _seq_before(http, session_id, body["query"], patience)
        async with aclosing(follow(http, session_id, seen, patience)) as events:
            async for event in events:
                yield event
                if isinstance(event, AgentRunEnd) and event.seq is not None:
                    return
    except ClientError:
        if substitute is None:
            raise
        yield substitute


async def _seq_before(http: Http, session_id: str, query: object, patience: Patience) -> int:
    """The seq behind which the run begins that was asked this, where its stream broke before any event arrived."""
    while True:
        try:
            stored = await http.get("sessions/details", sessionId=session_id)
            after = max(0, stored["session"]["lastSeq"] - _LOOK_BACK)
            events = (await http.get("sessions/events", sessionId=session_id, after=after))["events"]
            for event in reversed(events):
                if event["type"] == "user_message" and event["content"] == query:
                    return event["seq"] - 1
            raise ConnectionLost(http.url, "before the query was stored")
        except ClientError as error:
            await patience.wait(error)
