"""An event on its way to WebSocket clients: what filters look at, and its text, made once for all clients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from organism.access.principal import Principal
from organism.errors import OrganismError
from organism.messages import Message
from organism.ref import Event
from organism.threads import ThreadView
from serve_app.error_handlers import describe

FrameKind = Literal[
    "message",
    "thread_created",
    "thread_updated",
    "agent_state",
    "session_state",
    "ingest",
    "error",
    "reloaded",
    "connected",
]

ABOUT_AGENTS = ("agent_state", "reloaded")
"""Kinds that a thread filter does not hold back: an agent going idle is in no thread any more."""

STATE_FIELDS = ("state", "current_thread", "queue_depth", "running", "paused", "last_activity", "error")


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, serialised.

    text: as /ws sends it. log_text: as /ws/messages does, empty for what is no message.
    seq: the log position it belongs to, None where it has none. agents, thread_id, payload_type: what it is about.
    subject: id of the session or library that it is about. owner: of the session; no client is told.
    """

    kind: FrameKind
    seq: int | None
    text: str
    log_text: str = ""
    agents: tuple[str, ...] = ()
    thread_id: str | None = None
    payload_type: str | None = None
    subject: str = ""
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """What a client wants: all conditions hold together, an empty one does not count."""

    kinds: frozenset[str] = frozenset()
    threads: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    payload_types: frozenset[str] = frozenset()

    def wants(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds

    def passes(self, frame: Frame) -> bool:
        if frame.kind == "connected":
            return True
        return (
            self.wants(frame.kind)
            and (not self.threads or frame.thread_id in self.threads or frame.kind in ABOUT_AGENTS)
            and (not self.agents or not self.agents.isdisjoint(frame.agents))
            and (not self.payload_types or frame.payload_type is None or frame.payload_type in self.payload_types)
        )


EVERYTHING = Filter()


def sees(principal: Principal, frame: Frame) -> bool:
    """Whether this may be shown to the principal, whatever it has subscribed to."""
    match frame.kind:
        case "connected":
            return True
        case "session_state":
            return principal.may_reach_session(frame.subject, frame.owner)
        case "ingest":
            return principal.may_reach_library(frame.subject)
        case "reloaded":
            return principal.bounds is None
    return principal.bounds is None or any(map(principal.may_reach_agent, frame.agents))


def message_frame(message: Message) -> Frame:
    log_text = orjson.dumps(message.to_api()).decode()
    return Frame(
        "message",
        message.seq,
        f'{{"event":"message","seq":{message.seq},"message":{log_text}}}',
        log_text,
        (message.sender, message.recipient),
        message.thread_id,
        message.payload_type,
    )


def agent_frame(view: dict[str, Any], seq: int | None = None) -> Frame:
    """agent_state of an agent as in Snapshot.agents."""
    shown = {"event": "agent_state", "agent": view["name"]} | {key: view.get(key) for key in STATE_FIELDS}
    return Frame("agent_state", seq, text_of(shown), agents=(view["name"],), thread_id=view.get("current_thread"))


def thread_created_frame(view: dict[str, Any], seq: int | None = None) -> Frame:
    shown = {"event": "thread_created", "seq": seq, "thread": view}
    return Frame("thread_created", seq, text_of(shown), agents=tuple(view["participants"]), thread_id=view["id"])


def thread_updated_frame(view: dict[str, Any], seq: int | None = None) -> Frame:
    shown = {"event": "thread_updated", "seq": seq, "thread_id": view["id"]} | {
        key: view[key] for key in ("status", "message_count", "participants", "last_activity", "error")
    }
    return Frame("thread_updated", seq, text_of(shown), agents=tuple(view["participants"]), thread_id=view["id"])


def session_frame(value: dict[str, Any], seq: int | None = None) -> Frame:
    """session_state: one is placed in a cell, runs, rests, leaves memory or is deleted."""
    shown = {key: each for key, each in value.items() if key != "owner"}
    text = text_of({"event": "session_state", "session": shown})
    return Frame("session_state", seq, text, subject=value.get("id", ""), owner=value.get("owner"))


def ingest_frame(value: dict[str, Any], seq: int | None = None) -> Frame:
    """ingest: a job of the librarian begins, gets on or ends."""
    return Frame("ingest", seq, text_of({"event": "ingest", "job": value}), subject=value.get("library_id") or "")


def error_frame(value: dict[str, Any], seq: int | None = None) -> Frame:
    agent = value.get("agent")
    shown = {"event": "error", "seq": seq} | value
    return Frame("error", seq, text_of(shown), agents=(agent,) if agent else (), thread_id=value.get("thread_id"))


def reloaded_frame(value: dict[str, Any], seq: int | None = None) -> Frame:
    agents = tuple(value["added"] + value["changed"] + value["removed"])
    return Frame("reloaded", seq, text_of({"event": "reloaded", "seq": seq} | value), agents=agents)


def frame_of(event: Event) -> Frame:
    if event.kind == "message":
        return message_frame(event.value)
    value = event.value.to_api() if isinstance(event.value, ThreadView) else event.value
    return _FRAMES[event.kind](value, event.seq)


_FRAMES = {
    "thread_created": thread_created_frame,
    "thread_updated": thread_updated_frame,
    "agent_state": agent_frame,
    "session_state": session_frame,
    "ingest": ingest_frame,
    "error": error_frame,
    "reloaded": reloaded_frame,
}


def text_of(shown: dict[str, Any]) -> str:
    return orjson.dumps(shown).decode()


def lagged_text(from_seq: int, to_seq: int) -> str:
    return f'{{"event":"lagged","from_seq":{from_seq},"to_seq":{to_seq}}}'


def heartbeat_text(seq: int) -> str:
    return f'{{"event":"heartbeat","seq":{seq}}}'


def refusal_text(error: OrganismError, echo: dict[str, Any]) -> str:
    """The answer to a bad command: an `error` event with `cmd` and `id` as far as they are known."""
    described = describe(error)
    shown = {
        "event": "error",
        **echo,
        "thread_id": None,
        "agent": None,
        "error": described.pop("message"),
        **described,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    return text_of(shown)
