"""What travels between the pump (directory), session cells, and those who ask them (API replicas).

The directory places each session in a cell. The cell loads it when it is first asked for it, with a lease; only the
holder of the newest lease may append. A cell asked for a session that it does not hold and cannot load answers
SessionNotHere: the asker then has the directory place it anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from organism.config import Listener, LlmSection, SessionsSection, WorkspaceSection
from organism.errors import OrganismError
from organism.sessions.events import Content, Frame
from organism.sessions.records import ModelChoice, NewSession, SessionChanges, SessionFilter, SessionRecord, SessionView

RECENT_EVENTS = 5_000
"""Of a session that is loaded: its history goes no further back."""


class SessionNotHere(OrganismError):
    """This cell does not hold the session (any more). Only askers see this one: they ask the directory again."""

    code = "session_not_here"

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:
        return f"session {self.session_id} is not in this cell"


class Placement(NamedTuple):
    """Where a session is."""

    session_id: str
    cell: str  # name of its actor
    incarnation: str


class Loaded(NamedTuple):
    """A session as its cell takes it up. `recent`: its newest events, at most RECENT_EVENTS. is_limited: its runs
    may be refused for what their owner has used up, so no model is asked before their beginning is stored."""

    record: SessionRecord
    lease: int
    recent: list[Frame]
    is_limited: bool = False


class Append(NamedTuple):
    """What a cell has stored of one session: events that continue its log, and the record as it is then.

    begins_run: refused with ServerExclusive while another session runs and sessions.exclusive is set, and where the
    owner has used up what auth.limits allows: TooManyRuns, TokensSpent.
    """

    record: SessionRecord
    lease: int
    frames: list[Frame]
    begins_run: bool = False


class AgentAnswer(NamedTuple):
    """What became of a message into the organism. status: of its thread; `payload` JSON of the thread's last message
    by somebody else, None when there is none; `error` where the thread ended with one."""

    status: str
    payload_type: str | None
    payload: bytes | None
    error: str | None


class SessionLink(Protocol):
    """The session cell's way to the pump. Every method waits through a restart of the pump."""

    async def load(self, session_id: str, incarnation: str) -> Loaded:
        """Raises SessionNotHere, SessionNotFound, StorageUnavailable."""
        ...

    async def append(self, appends: list[Append]) -> list[OrganismError | None]:
        """Commits all of them together; an error stands in the place of each that was not stored.

        SessionNotHere (another lease is newer), ServerExclusive, TooManyRuns, TokensSpent, StorageUnavailable.
        """
        ...

    async def release(self, session_id: str, lease: int) -> None:
        """The cell holds the session no more; ignored when another lease is newer."""
        ...

    async def inject(self, session_id: str, agent: str, payload: dict[str, Any]) -> str:
        """Sends a payload to a listener, in a new thread that the session's owner pays for; returns the thread's id.
        The cell has validated the payload against the listener's class. Where the pump dies meanwhile it may be sent
        twice.

        Raises SessionNotHere, AgentNotFound, InvalidPayload, QueueFull, TokensSpent, StorageUnavailable.
        """
        ...

    async def wait_thread(self, thread_id: str, timeout_s: float) -> AgentAnswer:
        """Returns when the thread is active no more, or after the timeout with status 'active'."""
        ...


@dataclass(frozen=True, slots=True)
class SessionCellSpec:
    """Everything a session cell needs to start on any node.

    name: as the Ray dashboard shows it. definition: a digest of all that matters. bundle: zip of the organism's
    folder. listeners: whom send_to_agent can reach. workspace_root: absolute.
    """

    name: str
    incarnation: str
    definition: str
    sessions: SessionsSection
    llm: LlmSection
    environ: dict[str, str]
    bundle_digest: str
    bundle: bytes
    listeners: tuple[Listener, ...]
    workspace: WorkspaceSection
    workspace_root: str


class SessionCellAttached(NamedTuple):
    """A running session cell's answer to a pump. held: lease by session id."""

    incarnation: str
    definition: str
    held: dict[str, int]
    pid: int


class Query(NamedTuple):
    """What a client asks. stream: whether it follows the events (recorded in run_options). id: becomes that of the
    user_message; whoever asks makes it, and can tell by it, when the cell dies, whether its run had begun."""

    content: Content
    stream: bool = False
    id: str = ""


class Answered(NamedTuple):
    """How a run ended, for who waited for it. result: the last assistant text. event: JSON of the last
    assistant_message, None when there is none. status: of agent_run_end. error: the failure of the model, the
    limit or the storage, None where the run was done or aborted."""

    result: str
    event: bytes | None
    status: str
    error: OrganismError | None


class SessionStatus(NamedTuple):
    is_processing: bool
    state: str  # SessionState


class Summary(NamedTuple):
    summary: str
    model: str
    provider: str


class FeedBatch(NamedTuple):
    """What happened in the sessions that a follower follows, since its last poll, in order within each session.

    cursor: to be given with the next poll; what comes before it is forgotten by the cell then. lost: sessions that
    have left the cell, or whose events were too many for a slow follower: read stored events, and follow again.
    statuses: of sessions whose status changed, the latest of each.
    """

    cursor: int
    frames: list[Frame]
    lost: list[str]
    statuses: list[tuple[str, SessionStatus]]


class SessionCellPort(Protocol):
    """A session cell as API replicas see it. All raise CellDied when its process is gone, and SessionNotHere."""

    async def begin(self, session_id: str, query: Query, follower: str | None = None) -> Frame:
        """Starts a run and returns when that is stored: its user_message. `follower` follows from before that.

        Raises SessionBusy, ServerExclusive, TooManyRuns, TokensSpent, InvalidQuery, StorageUnavailable.
        """
        ...

    async def ask(self, session_id: str, query: Query) -> Answered:
        """Runs a query and returns when the run has ended and is stored. Raises as `begin`."""
        ...

    async def abort(self, session_id: str) -> bool:
        """Ends the run, if there is one; returns when it has ended: a new one may begin. False: nothing was running."""
        ...

    async def status(self, session_id: str) -> SessionStatus: ...

    async def change(self, session_id: str, changes: SessionChanges) -> SessionRecord:
        """Changes name, tags or model, stored on return."""
        ...

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        """A title of at most six words. Raises ModelError."""
        ...

    async def follow(self, follower: str, session_id: str) -> int:
        """From now on polls of `follower` have this session's events; returns the seq of its newest stored event."""
        ...

    async def unfollow(self, follower: str, session_id: str) -> None: ...

    async def poll(self, follower: str, cursor: int, timeout_s: float) -> FeedBatch:
        """Everything since `cursor`; empty after the timeout. A follower that has not polled for a minute is
        forgotten. An unknown follower with a cursor above 0 gets all its sessions as lost."""
        ...


class SessionCellRef(SessionCellPort, Protocol):
    """A session cell as the pump holds it."""

    name: str
    incarnation: str

    async def attach(self) -> SessionCellAttached: ...

    async def passivate(self, session_id: str) -> bool:
        """Gives up a session that neither runs nor is followed, and releases it; False where it does, or is unknown."""
        ...

    async def drop(self, session_id: str) -> None:
        """The session was deleted: aborts its run, stores nothing more, tells followers (`lost`)."""
        ...

    async def retire(self) -> None:
        """Gives up all sessions, each when its run has ended, and loads no more: a new definition took over."""
        ...

    async def ping(self) -> None: ...

    async def wait_died(self) -> str: ...

    async def kill(self) -> None: ...


class SessionCellHost(Protocol):
    """Where session cells are started: Ray, or this process."""

    async def start(self, spec: SessionCellSpec) -> SessionCellRef:
        """Raises HandlerNotLoaded (an own tool cannot be used), CellDied."""
        ...

    async def found(self) -> list[SessionCellRef]:
        """All session cells that run and answer, of whatever pump."""
        ...


class ServerStatus(NamedTuple):
    is_exclusive: bool
    running_session_id: str | None
    can_accept: bool


class ModelOffer(NamedTuple):
    """A backend of llm.backends and its models."""

    provider: str
    models: tuple[str, ...]


class SessionSettings(NamedTuple):
    """What an API replica has to know of the configuration. agents: `(name, description)`, the first is the default.
    models: what backends offer. default_model: None where no backend is configured."""

    agents: tuple[tuple[str, str], ...]
    models: tuple[ModelOffer, ...]
    default_model: ModelChoice | None
    workspace_root: str
    workspace: WorkspaceSection
    sessions: SessionsSection


class DirectoryRef(Protocol):
    """The pump's part, for API replicas. All raise OrganismUnreachable while it restarts, and StorageUnavailable."""

    async def create(self, new: NewSession, owner: str | None = None) -> SessionView:
        """Stores a new session and, where there is room, places it. owner: see SessionsRef.create.

        Raises SessionAgentNotFound, ModelNotFound, Stopping.
        """
        ...

    async def place(self, session_id: str) -> Placement:
        """Where the session is; places one that is only stored, once, however many ask.

        Raises SessionNotFound, TooManySessions, Stopping.
        """
        ...

    async def view(self, session_id: str) -> SessionView:
        """Raises SessionNotFound."""
        ...

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]: ...

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        """Stored ones. Raises SessionNotFound."""
        ...

    async def delete(self, session_id: str) -> None:
        """Ends its run, removes it, its events and its isolated workspace. Raises SessionNotFound."""
        ...

    async def server_status(self) -> ServerStatus: ...

    async def settings(self) -> SessionSettings: ...
