"""Every error of the package, one tree:

OrganismError
├── ConfigError            organism.yaml cannot be used; ConfigErrors: for several reasons
├── BundleError            the organism's folder cannot be packed or unpacked
├── NotFound               AgentNotFound, ThreadNotFound, DeadLetterNotFound, SessionNotFound, FileNotInWorkspace,
│                          KeyNotFound
├── Refused                InvalidPayload, ThreadKilled, ThreadFull, Stopping, SessionBusy, ServerExclusive,
│                          SessionAgentNotFound, PathRefused, InvalidQuery, KeyExists
├── Overloaded             QueueFull, TooManySessions, RateLimited, TooManyRuns, TokensSpent
├── AccessRefused          Unauthenticated, Forbidden
├── StorageError           StorageUnavailable, StorageLocked, StorageVersionError
├── HandlerError           HandlerNotLoaded
├── OrganismUnreachable    the pump does not answer at present
├── RunInterrupted         the process of a session died during a run
├── RunTimeout             a session's run took longer than its agent may
└── ModelError             organism.llm.base has the rest

Each takes exactly the arguments it passes on to `super().__init__`, so that it survives pickling between processes,
and says in its text what happened and what to do.
"""

from __future__ import annotations


class OrganismError(Exception):
    """Base of all errors raised by this package."""

    code = "internal"


class ConfigError(OrganismError):
    """organism.yaml cannot be used as it is.

    `line` is 1-based, or None where the problem has no line; `field` is a dotted path such as `listeners.0.handler`.
    """

    code = "config"

    def __init__(self, file: str, line: int | None, field: str, problem: str, remedy: str) -> None:
        super().__init__(file, line, field, problem, remedy)
        self.file = file
        self.line = line
        self.field = field
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.field}: {self.problem}. {self.remedy}"

    @property
    def problems(self) -> tuple[ConfigError, ...]:
        """What is wrong, one by one: itself, or all of them for ConfigErrors."""
        return (self,)


class ConfigErrors(ConfigError):
    """organism.yaml has several problems; its own line and field are those of the first one."""

    def __init__(self, problems: tuple[ConfigError, ...]) -> None:
        first = problems[0]
        super().__init__(first.file, first.line, first.field, first.problem, first.remedy)
        self.args = (problems,)  # args == signature, so the error survives pickling

    def __str__(self) -> str:
        return "\n".join(str(each) for each in self.problems)

    @property
    def problems(self) -> tuple[ConfigError, ...]:
        return self.args[0]


class BundleError(OrganismError):
    """The organism's folder cannot be packed for its cells, or a packed one cannot be unpacked."""

    code = "bundle"

    def __init__(self, place: str, problem: str, remedy: str) -> None:
        super().__init__(place, problem, remedy)
        self.place = place
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}. {self.remedy}"


class NotFound(OrganismError):
    """Something was named that is not there."""

    code = "not_found"


class AgentNotFound(NotFound):
    """No listener of this name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no agent named {self.name!r}; GET /api/v1/agents lists them"


class ThreadNotFound(NotFound):
    """No thread has this id."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(thread_id)
        self.thread_id = thread_id

    def __str__(self) -> str:
        return f"no thread {self.thread_id!r}; GET /api/v1/threads lists them, an inject without thread_id starts one"


class DeadLetterNotFound(NotFound):
    """No dead letter has this message id, or it was requeued already."""

    def __init__(self, message_id: str) -> None:
        super().__init__(message_id)
        self.message_id = message_id

    def __str__(self) -> str:
        return f"no dead letter {self.message_id!r}; GET /api/v1/dead-letters lists them"


class Refused(OrganismError):
    """The request is understood and cannot be done in the present state."""

    code = "refused"


class InvalidPayload(Refused):
    """The payload does not fit the listener's payload class.

    `problems` holds one `(path, text)` for each field that is wrong; the path is dotted and empty for the whole.
    """

    code = "invalid_payload"

    def __init__(self, agent: str, payload_class: str, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(agent, payload_class, problems)
        self.agent = agent
        self.payload_class = payload_class
        self.problems = problems

    def __str__(self) -> str:
        listed = "; ".join(f"{path or 'payload'}: {text}" for path, text in self.problems)
        return f"payload is no {self.payload_class} for {self.agent!r}: {listed}"


class ThreadKilled(Refused):
    """The thread was killed by the operator and takes no more messages."""

    code = "thread_killed"

    def __init__(self, thread_id: str) -> None:
        super().__init__(thread_id)
        self.thread_id = thread_id

    def __str__(self) -> str:
        return f"thread {self.thread_id} was killed; start a new one by leaving thread_id out"


class ThreadFull(Refused):
    """The thread holds as many messages as limits.max_slots_per_thread allows."""

    code = "thread_full"

    def __init__(self, thread_id: str, max_slots: int) -> None:
        super().__init__(thread_id, max_slots)
        self.thread_id = thread_id
        self.max_slots = max_slots

    def __str__(self) -> str:
        return (
            f"thread {self.thread_id} holds {self.max_slots} messages already; "
            "start a new thread or raise limits.max_slots_per_thread"
        )


class Stopping(Refused):
    """The organism is being stopped and takes no new messages."""

    code = "stopping"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "the organism is stopping; send again when it has been started"


class Overloaded(OrganismError):
    """A limit is reached for now; the same request may succeed later."""

    code = "overloaded"


class QueueFull(Overloaded):
    """As many messages wait for this agent as limits.max_queue allows."""

    code = "queue_full"

    def __init__(self, agent: str, max_queue: int, retry_after_s: float) -> None:
        super().__init__(agent, max_queue, retry_after_s)
        self.agent = agent
        self.max_queue = max_queue
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.max_queue} messages wait for {self.agent!r}; send again in {self.retry_after_s:g} s"


class SessionNotFound(NotFound):
    """There is no session with this id."""

    code = "session_not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:
        return f"no session {self.session_id[:100]!r}"


class FileNotInWorkspace(NotFound):
    """There is no such file or directory in the session's workspace; `path` as the client gave it."""

    code = "file_not_found"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"no file or directory {self.path[:1000]!r} in the workspace"


class SessionBusy(Refused):
    """The session runs a query already."""

    code = "session_busy"

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:  # this text is part of the clients' contract
        return "Agent is already executing a task. Complete or abort the current task before starting a new one."


class ServerExclusive(Refused):
    """Another session runs, and sessions.exclusive lets only one run at a time.

    running_session_id: empty for those who may not know of that session.
    """

    code = "server_exclusive"

    def __init__(self, running_session_id: str) -> None:
        super().__init__(running_session_id)
        self.running_session_id = running_session_id

    def __str__(self) -> str:
        which = f" ({self.running_session_id})" if self.running_session_id else ""
        return f"another session{which} is running and the server is exclusive; wait until it has ended, or abort it"


class SessionAgentNotFound(Refused):
    """sessions.agents names no such agent."""

    code = "session_agent_not_found"

    def __init__(self, name: str, offered: tuple[str, ...]) -> None:
        super().__init__(name, offered)
        self.name = name
        self.offered = offered

    def __str__(self) -> str:
        return f"no session agent {self.name[:100]!r}; there are: {', '.join(self.offered)}"


class PathRefused(Refused):
    """The path leaves the workspace, or is none; `path` as it was given."""

    code = "path_refused"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"path {self.path[:1000]!r} is refused: {self.reason}"


class InvalidQuery(Refused):
    """A query is empty, too long, or of the wrong form; `field` is dotted, such as `query.0.type`."""

    code = "invalid_query"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class TooManySessions(Overloaded):
    """As many sessions are active as sessions.max_active allows, and none of them is idle."""

    code = "too_many_sessions"

    def __init__(self, max_active: int, retry_after_s: float) -> None:
        super().__init__(max_active, retry_after_s)
        self.max_active = max_active
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return (
            f"{self.max_active} sessions are active and none is idle; try again in {self.retry_after_s:g} s, "
            "or raise sessions.max_active"
        )


class AccessRefused(OrganismError):
    """Who asks may not do this."""

    code = "access_refused"


class Unauthenticated(AccessRefused):
    """Nobody known asks; `reason` tells an honest client what to do, and a dishonest one nothing."""

    code = "unauthenticated"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Forbidden(AccessRefused):
    """Who asks is known, and may not do this."""

    code = "forbidden"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class KeyNotFound(NotFound):
    """No key has this name or id, or it is revoked."""

    code = "key_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no key named {self.name!r}; `organism keys list` shows them"


class KeyExists(Refused):
    """A key of this name is in use."""

    code = "key_exists"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"a key named {self.name!r} is in use; choose another name, or revoke that one first"


class RateLimited(Overloaded):
    """A principal sends more than it may."""

    code = "rate_limited"

    def __init__(self, what: str, limit: float, setting: str, retry_after_s: float) -> None:
        super().__init__(what, limit, setting, retry_after_s)
        self.what = what
        self.limit = limit
        self.setting = setting
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"more than {self.limit:g} {self.what} ({self.setting}); try again in {self.retry_after_s:.3g} s"


class TooManyRuns(Overloaded):
    """A principal has as many runs of sessions under way as it may."""

    code = "too_many_runs"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.limit} runs of yours are under way (auth.limits.runs); wait for one to end, or abort it"


class TokensSpent(Overloaded):
    """A principal has used its tokens of today."""

    code = "tokens_spent"

    def __init__(self, limit: int, retry_after_s: float) -> None:
        super().__init__(limit, retry_after_s)
        self.limit = limit
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"today's {self.limit} tokens are used up (auth.limits.tokens_per_day); there are new ones at 0:00 UTC"


class StorageError(OrganismError):
    """The storage failed; what was to be written was not written."""

    code = "storage"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"storage failed: {self.reason}"


class StorageUnavailable(StorageError):
    """The storage cannot be written or read at present (disk full, read-only, locked); it is tried again."""

    code = "storage_unavailable"

    def __str__(self) -> str:
        return f"storage is unavailable: {self.reason}; nothing was stored, send again later"


class StorageLocked(StorageError):
    """Another organism has this storage open."""

    code = "storage_locked"

    def __str__(self) -> str:
        return f"storage {self.reason} is in use by another organism; stop that one or choose another storage.path"


class StorageVersionError(StorageError):
    """The storage was written by a newer version of this package."""

    code = "storage_version"

    def __str__(self) -> str:
        return f"storage cannot be opened: {self.reason}; install the version that wrote it"


class HandlerError(OrganismError):
    """User code failed."""

    code = "handler"


class HandlerNotLoaded(HandlerError):
    """A listener's payload class or handler cannot be imported or has the wrong form."""

    code = "handler_not_loaded"

    def __init__(self, listener: str, dotted: str, reason: str) -> None:
        super().__init__(listener, dotted, reason)
        self.listener = listener
        self.dotted = dotted
        self.reason = reason

    def __str__(self) -> str:
        return f"listener {self.listener!r}: cannot load {self.dotted}: {self.reason}"


class OrganismUnreachable(OrganismError):
    """The pump does not answer at present; it restarts by itself."""

    code = "unreachable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the organism does not answer ({self.reason}); it restarts by itself, send again in a moment"


class RunInterrupted(OrganismError):
    """The process that ran the session's query died; the run has ended, and what was stored of it is kept."""

    code = "run_interrupted"

    def __init__(self, session_id: str) -> None:
        super().__init__(session_id)
        self.session_id = session_id

    def __str__(self) -> str:
        return (
            f"the process that ran session {self.session_id} died and the run ended with it; "
            "its events say how far it came; ask again"
        )


class RunTimeout(OrganismError):
    """A run took longer than its agent's timeout_s."""

    code = "run_timeout"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"the run was ended after {self.timeout_s:g} s; raise timeout_s of the agent if it needs more"


class ModelError(OrganismError):
    """A model could not answer; base of the errors in organism.llm.base."""

    code = "model"
