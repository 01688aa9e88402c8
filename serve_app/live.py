"""The live picture: agents, organism and recent threads as of the last event, ready to be sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from organism.access.principal import Bounds, allows
from organism.config import ApiSection, AuthSection, Limits
from organism.errors import AgentNotFound, OrganismUnreachable
from organism.masking import mask, mask_text
from organism.ref import EventBatch, Snapshot
from organism.threads import ThreadView

MAX_THREADS = 100
"""Threads that the picture holds: as many as a snapshot."""


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """Which agents to list; `status` is a state or 'paused', `since_ms` bounds the last activity."""

    status: str | None = None
    agent: str | None = None
    since_ms: int | None = None

    def passes(self, view: dict[str, Any]) -> bool:
        return (
            (self.agent is None or view["name"] == self.agent)
            and (self.status is None or (view["paused"] if self.status == "paused" else view["state"] == self.status))
            and (self.since_ms is None or _milliseconds(view["last_activity"]) >= self.since_ms)
        )


EVERY_AGENT = AgentFilter()


def _milliseconds(timestamp: str | None) -> float:
    return float("-inf") if timestamp is None else datetime.fromisoformat(timestamp).timestamp() * 1000


class Live:
    """What GETs about agents and the organism are answered from, without asking the pump.

    Before the first snapshot every read raises OrganismUnreachable. While the pump does not answer the last picture
    stays, with the organism's status 'unreachable'.
    """

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._taken_s = 0.0
        self._organism: dict[str, Any] = {}
        self._agents: dict[str, dict[str, Any]] = {}
        self._agent_bytes: dict[str, bytes] = {}
        self._all_agents: list[orjson.Fragment] | None = None
        self._threads: dict[str, ThreadView | dict[str, Any]] = {}  # oldest first; as they came, shown when asked for
        self.config: dict[str, Any] = {}
        self.limits = Limits()
        self.api = ApiSection()
        self.auth = AuthSection()
        self.reachable = False

    @property
    def known(self) -> bool:
        """Whether there is a picture at all."""
        return self._snapshot is not None

    def take(self, snapshot: Snapshot) -> None:
        """Replaces the whole picture."""
        self.define(snapshot)
        self._threads = {view["id"]: view for view in reversed(snapshot.threads)}

    def define(self, snapshot: Snapshot) -> None:
        """Takes agents, organism and configuration from the snapshot: after a reload."""
        self._snapshot = snapshot
        self._taken_s = time.monotonic()
        self._organism = dict(snapshot.organism)
        self._agents = {view["name"]: view for view in snapshot.agents}
        self._agent_bytes = {name: orjson.dumps(view) for name, view in self._agents.items()}
        self._all_agents = None
        self.config = mask(snapshot.config)
        self.limits = Limits.model_validate(snapshot.config.get("limits") or {})
        self.api = ApiSection.model_validate(snapshot.config.get("api") or {})
        self.auth = AuthSection.model_validate(snapshot.config.get("auth") or {})
        self.reachable = True

    def count(self, batch: EventBatch) -> None:
        """Takes the organism's figures from a batch of events."""
        assert self._snapshot is not None
        counted_since = batch.last_seq - self._snapshot.seq
        total_messages = self._snapshot.organism["total_messages"] + counted_since
        self._organism.update(status=batch.status, active_threads=batch.active_threads, total_messages=total_messages)
        self.reachable = True

    def put_status(self, status: str) -> None:
        """The organism's status, ahead of the next batch of events."""
        self._organism["status"] = status

    def put_agent(self, view: dict[str, Any]) -> None:
        """The agent as it is now; one that is not defined any more is left out."""
        if view["name"] in self._agents:
            self._agents[view["name"]] = view
            self._agent_bytes[view["name"]] = orjson.dumps(view)
            self._all_agents = None

    def put_thread(self, view: ThreadView, *, new: bool) -> None:
        if new:
            self._threads[view.id] = view
            if len(self._threads) > MAX_THREADS:
                del self._threads[next(iter(self._threads))]
        elif view.id in self._threads:
            self._threads[view.id] = view

    def threads(self) -> dict[str, dict[str, Any]]:
        """The latest threads by id, as the API shows them, newest first."""
        return {
            thread_id: view.to_api() if isinstance(view, ThreadView) else view
            for thread_id, view in reversed(self._threads.items())
        }

    def agent_views(self) -> dict[str, dict[str, Any]]:
        return self._agents

    def agent(self, name: str) -> dict[str, Any]:
        """Raises: AgentNotFound."""
        self._require()
        try:
            return self._agents[name]
        except KeyError:
            raise AgentNotFound(name) from None

    def agent_json(self, name: str) -> bytes:
        """Raises: AgentNotFound."""
        self.agent(name)
        return self._agent_bytes[name]

    def agent_config(self, name: str) -> dict[str, Any]:
        """The agent's section of the configuration, without secrets. Raises: AgentNotFound."""
        self.agent(name)
        shown = mask_text(name)  # a name may look like a key
        section = next(section for section in self.config["listeners"] if section["name"] == shown)
        return {**section, "name": name}

    def agents(self, where: AgentFilter = EVERY_AGENT, bounds: Bounds | None = None) -> list[orjson.Fragment]:
        """The agents that match, in the order of the configuration; for orjson.dumps. bounds: only those in them."""
        self._require()
        if where != EVERY_AGENT or bounds is not None:
            return [
                orjson.Fragment(self._agent_bytes[name])
                for name, view in self._agents.items()
                if where.passes(view) and (bounds is None or allows(bounds.agents, name))
            ]
        if self._all_agents is None:
            self._all_agents = [orjson.Fragment(each) for each in self._agent_bytes.values()]
        return self._all_agents

    def organism(self) -> dict[str, Any]:
        """The organism as in Snapshot.organism, with its uptime as of now."""
        snapshot = self._require()
        uptime_s = snapshot.organism["uptime_seconds"] + time.monotonic() - self._taken_s
        status = self._organism["status"] if self.reachable else "unreachable"
        return {**self._organism, "status": status, "uptime_seconds": round(uptime_s, 3)}

    def total_messages(self) -> int:
        self._require()
        return self._organism["total_messages"]

    def connected_text(self, seq: int) -> str:
        """The `connected` event: the whole picture, and the log position it stands at."""
        shown = {
            "event": "connected",
            "seq": seq,
            "organism": self.organism(),
            "agents": self.agents(),
            "threads": list(self.threads().values()),
        }
        return orjson.dumps(shown).decode()

    def _require(self) -> Snapshot:
        if self._snapshot is None:
            raise OrganismUnreachable("this API replica has not reached it yet")
        return self._snapshot
