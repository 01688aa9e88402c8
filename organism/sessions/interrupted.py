"""The truthful end of a run whose process died: what is stored in its place."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from organism.messages import now_ms
from organism.sessions.events import AgentRunEnd, Frame, SystemEvent, encode
from organism.sessions.records import SessionRecord

RECENT_EVENTS = 1000
"""Stored events among which the run's beginning is looked for."""


class Ending(NamedTuple):
    """What ends the run: the record as it is then, and the events that continue its log."""

    record: SessionRecord
    frames: list[Frame]


def end_run(record: SessionRecord, recent: list[Frame], reason: str) -> Ending:
    """Ends the run of a session whose cell is gone. recent: its newest stored events; reason: why the cell is gone."""
    now = now_ms()
    last_seq = max(record.last_seq, recent[-1].seq or 0 if recent else 0)
    iterations, started_ms = _progress(recent, now)
    told = SystemEvent(
        timestamp=now,
        seq=last_seq + 1,
        level="error",
        message=f"The process that ran this session is gone ({reason}), and the run ended with it. "
        "What had been stored of it is kept; what was under way then may or may not have been done. Ask again.",
        details={"code": "run_interrupted", "reason": reason},
    )
    end = AgentRunEnd(
        timestamp=now,
        seq=last_seq + 2,
        session_id=record.id,
        iterations=iterations,
        elapsed_ms=max(0, now - started_ms),
        status="error",
    )
    ended = record.model_copy(update={"is_running": False, "last_seq": last_seq + 2, "updated_at": now})
    return Ending(ended, [encode(record.id, told), encode(record.id, end)])


def _progress(recent: list[Frame], now: int) -> tuple[int, int]:
    """How many turns the model had ended, and when the run began, in milliseconds since the epoch."""
    turns = 0
    for frame in reversed(recent):
        turns += frame.type == "assistant_message"
        if frame.type in ("agent_run_start", "user_message"):
            return turns, orjson.loads(frame.body)["timestamp"]
    return turns, now
