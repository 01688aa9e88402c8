"""The pump's record of one listener at work: its queue, its state, and how it looks to the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from organism.config import Isolation, Listener
from organism.messages import iso_timestamp
from organism.window import Window
from organism.wire import Outcome

if TYPE_CHECKING:
    from organism.keeper import Keeper

AgentState = Literal["idle", "processing", "waiting", "error"]


@dataclass(slots=True)
class Agent:
    """`max_concurrent` bounds its messages in flight; `waiting` counts those of its handlers that wait for a model.

    `keeper` looks after the cell that serves it now; `error` says why that cell is not started any more.
    """

    listener: Listener
    window: Window
    max_concurrent: int
    isolation: Isolation
    keeper: Keeper
    accepts: tuple[str, ...] = ()
    paused: bool = False
    waiting: int = 0
    handled: int = 0
    failed: int = 0
    handler_seconds: float = 0.0
    tokens: int = 0
    last_activity_ms: int | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        return self.listener.name

    @property
    def state(self) -> AgentState:
        running = len(self.window.in_flight)
        if self.error is not None:
            return "error"
        if running:
            return "waiting" if self.waiting >= running else "processing"
        return "waiting" if self.paused and self.window.depth else "idle"

    @property
    def may_take(self) -> bool:
        """Whether the next ready message may be delivered now, as far as this agent is concerned."""
        return (
            len(self.window.ready) > 0
            and not self.paused
            and self.keeper.is_up
            and len(self.window.in_flight) < self.max_concurrent
        )

    def count(self, outcome: Outcome) -> None:
        """Adds a committed outcome to what the agent has done."""
        self.handled += 1
        self.failed += outcome.status == "failed"
        self.handler_seconds += outcome.seconds
        self.tokens += outcome.tokens

    def view(self) -> dict[str, Any]:
        """The agent as the API shows it (see ref.Snapshot)."""
        listener = self.listener
        in_flight = self.window.in_flight
        return {
            "name": listener.name,
            "description": listener.description,
            "is_agent": listener.agent,
            "peers": list(listener.peers),
            "payload_class": listener.payload_class,
            "state": self.state,
            "current_thread": next(iter(in_flight.values())).message.thread_id if in_flight else None,
            "queue_depth": self.window.depth - len(in_flight),
            "last_activity": None if self.last_activity_ms is None else iso_timestamp(self.last_activity_ms),
            "paused": self.paused,
            "running": len(in_flight),
            "handled": self.handled,
            "failed": self.failed,
            "tokens": self.tokens,
            "restarts": self.keeper.restarts,
            "isolation": self.isolation,
            "cell": self.keeper.name,
            "pid": self.keeper.pid if self.keeper.is_up else None,
            "error": self.error,
        }
