"""What travels between the pump and its cells, in batches, both ways. Named tuples, because they are pickled a lot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from organism.config import Listener, LlmSection
from organism.messages import Message
from organism.threads import Todo


class Delivery(NamedTuple):
    """A message on its way to a handler, with what its listener keeps for the thread.

    state: JSON object, or None for an empty one. tokens: what this listener's model calls used in this thread;
    others_tokens: those of all other listeners in it.
    """

    message: Message
    state: bytes | None = None
    todos: tuple[Todo, ...] = ()
    tokens: int = 0
    others_tokens: int = 0


class Output(NamedTuple):
    """One message a handler wants sent. `to` is None for a broadcast; `is_reply` leaves the target to the pump."""

    to: str | None
    payload_type: str
    payload: bytes  # JSON, UTF-8
    is_reply: bool = False


OutcomeStatus = Literal["done", "failed"]


class Outcome(NamedTuple):
    """What became of a delivery. state: JSON object if it changed, else None."""

    seq: int
    recipient: str
    status: OutcomeStatus
    outputs: tuple[Output, ...] = ()
    error: str | None = None
    attempts: int = 1
    seconds: float = 0.0
    state: bytes | None = None
    added_todos: tuple[Todo, ...] = ()
    closed_todos: tuple[str, ...] = ()
    tokens: int = 0


class Report(NamedTuple):
    """What a cell tells the pump at once. waiting: by listener, how many handlers wait for a model now."""

    incarnation: str
    outcomes: list[Outcome]
    waiting: dict[str, int]


@dataclass(frozen=True, slots=True)
class CellSpec:
    """Everything a cell needs to start on any node.

    name: as the Ray dashboard shows it, e.g. `agent:greeter`. definition: a digest of all that matters to its
    listeners; a running cell with the same one need not be replaced. bundle: zip of the organism's folder.
    peers: of each listener. environ: the variables of `.env`.
    """

    name: str
    incarnation: str
    definition: str
    listeners: tuple[Listener, ...]
    bundle_digest: str
    bundle: bytes
    peers: dict[str, tuple[Listener, ...]]
    llm: LlmSection
    environ: dict[str, str]
    handler_timeout_s: float
    max_tokens_per_thread: int | None
    max_outputs: int
    max_payload_bytes: int
    max_state_bytes: int


class Attached(NamedTuple):
    """A running cell's answer to a pump that finds it again."""

    incarnation: str
    definition: str
    accepts: dict[str, tuple[str, ...]]  # payload types each listener takes
    pid: int


class PumpLink(Protocol):
    """The cell's way to the pump."""

    async def report(self, report: Report) -> None:
        """Returns when the outcomes are committed; waits through a restart of the pump."""
        ...

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]: ...


class CellRef(Protocol):
    """The pump's hold on one cell. Every method raises CellDied once its process is gone."""

    name: str
    incarnation: str

    async def attach(self) -> Attached: ...

    async def deliver(self, batch: list[Delivery]) -> None:
        """Hands messages over; returns when the cell has them, long before they are handled."""
        ...

    async def cancel(self, seqs: list[int]) -> None: ...

    async def ping(self) -> None: ...

    async def wait_died(self) -> str:
        """Returns, with the reason, when the process is gone."""
        ...

    async def kill(self) -> None: ...


class CellHost(Protocol):
    """Where cells are started: Ray, or this process."""

    async def start(self, spec: CellSpec) -> CellRef:
        """Starts a cell and waits until its listeners are loaded.

        Raises:
            HandlerNotLoaded: user code cannot be used; nothing is left running.
            CellDied: the process ended while it started.
        """
        ...

    async def find(self, name: str) -> CellRef | None:
        """The cell of that name, if its process lives and answers."""
        ...

    async def end_others(self, names: Collection[str]) -> None:
        """Ends all cells but these: what an earlier pump has left behind."""
        ...


class CellDied(Exception):
    """The cell's process is gone. Only the pump sees this one: it restarts the cell."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} died: {self.reason}"
