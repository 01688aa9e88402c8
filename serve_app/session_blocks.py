"""What happens in a session as blocks of an event stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable

from organism.errors import OrganismError
from organism.sessions.events import AgentRunEnd, AnyEvent, Frame, SystemEvent, encode
from organism.sessions.ref import Watched
from serve_app.error_handlers import describe
from serve_app.sse import Blocks, block

SESSION_GONE = "the session was deleted"


async def run_blocks(session_id: str, batches: AsyncIterator[list[Frame]], first: bytes = b"") -> Blocks:
    """`first`, then a run to its end. Where its events break off, they say why, and end as those of any run."""
    started_s, last_type, trouble = time.monotonic(), "", SESSION_GONE
    if first:
        yield first
    try:
        async for frames in batches:
            last_type = frames[-1].type
            yield _joined(frames)
    except OrganismError as error:
        trouble = describe(error)["message"]
    if last_type != "agent_run_end":
        elapsed_ms = int(1000 * (time.monotonic() - started_s))
        end = AgentRunEnd(session_id=session_id, iterations=0, elapsed_ms=elapsed_ms, status="error")
        yield _unstored(session_id, SystemEvent(level="error", message=trouble), end)


async def watched_blocks(session_id: str, items: AsyncIterator[Watched]) -> Blocks:
    """Everything that happens, until the session is deleted."""
    try:
        async for item in items:
            if item.frames:
                yield _joined(item.frames)
            if item.is_deleted:
                yield _unstored(session_id, SystemEvent(level="info", message=SESSION_GONE))
                return
    except OrganismError as error:
        yield _unstored(session_id, SystemEvent(level="error", message=describe(error)["message"]))


def _joined(frames: Iterable[Frame]) -> bytes:
    return b"".join(map(block, frames))


def _unstored(session_id: str, *events: AnyEvent) -> bytes:
    return _joined(encode(session_id, event) for event in events)
