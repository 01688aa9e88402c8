"""What the operator's clients are told of sessions: an event when one is placed, runs, rests, leaves or is deleted."""

from __future__ import annotations

from typing import Literal

from organism.messages import iso_timestamp, now_ms
from organism.publisher import Publisher
from organism.ref import Event
from organism.sessions.records import SessionRecord
from organism.sessions.session_keeper import SessionKeeper

ShownState = Literal["active", "executing", "idle", "error", "stored", "deleted"]


class SessionNews:
    """Publishes session_state events, with the owner, by whom the API decides who sees them. `runs` counts those that
    have begun."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.runs = 0

    def tell(self, record: SessionRecord, state: ShownState, keeper: SessionKeeper | None = None) -> None:
        value = {
            "id": record.id,
            "owner": record.owner,
            "state": state,
            "cell": keeper.name if keeper is not None else None,
            "pid": keeper.pid if keeper is not None else None,
            "timestamp": iso_timestamp(now_ms()),
        }
        self._publisher.publish([Event("session_state", None, value)])

    def tell_error(self, error: str) -> None:
        value = {"thread_id": None, "agent": None, "error": error, "timestamp": iso_timestamp(now_ms())}
        self._publisher.publish([Event("error", None, value)])
