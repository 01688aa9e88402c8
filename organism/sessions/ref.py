"""The outside of the sessions: what the API, the command line and tests hold. sessions/service.py implements it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from organism.sessions.events import Frame
from organism.sessions.records import ModelChoice, NewSession, SessionChanges, SessionFilter, SessionView
from organism.sessions.wire import Answered, Query, ServerStatus, SessionSettings, SessionStatus, Summary


class Watched(NamedTuple):
    """A piece of what a watcher gets: events in order, without a gap or a double in the stored ones.

    status: as it is after these events, None where it did not change. is_deleted: the session is gone; nothing follows.
    """

    frames: list[Frame]
    status: SessionStatus | None = None
    is_deleted: bool = False


class SessionsRef(Protocol):
    """Every method with a session_id brings a stored session back where it needs to, once, however many call.

    All raise SessionNotFound, TooManySessions (where it must be active), StorageUnavailable, OrganismUnreachable.
    """

    async def create(self, new: NewSession, owner: str | None = None) -> SessionView:
        """owner: id of the principal whose it is; None where there is no authentication."""
        ...

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]: ...

    async def session(self, session_id: str) -> SessionView: ...

    async def update(self, session_id: str, changes: SessionChanges) -> SessionView: ...

    async def delete(self, session_id: str) -> None: ...

    async def restore(self, session_id: str) -> SessionView: ...

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        """Stored ones with `seq > after_seq`, in order."""
        ...

    async def status(self, session_id: str) -> SessionStatus:
        """State `stored` for one that is not in memory; does not bring it back."""
        ...

    async def ask(self, session_id: str, query: Query) -> Answered:
        """Runs a query to its end. Raises SessionBusy, ServerExclusive, TooManyRuns, TokensSpent, InvalidQuery."""
        ...

    def run(self, session_id: str, query: Query) -> AbstractAsyncContextManager[AsyncIterator[list[Frame]]]:
        """Starts a run on entering and yields its events, in batches, the last one agent_run_end. Leaving early does
        not stop the run. Raises as `ask`, on entering."""
        ...

    async def begin(self, session_id: str, query: Query) -> int:
        """Starts a run; returns the seq of its user_message. Raises as `ask`."""
        ...

    async def abort(self, session_id: str) -> bool:
        """False: nothing was running."""
        ...

    def watch(self, session_id: str, after_seq: int | None) -> AbstractAsyncContextManager[AsyncIterator[Watched]]:
        """Follows a session through all faults: first the stored events behind `after_seq` (None: none of them), then
        what happens. The first item carries the status. Raises SessionNotFound on entering."""
        ...

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        """Raises ModelError."""
        ...

    async def server_status(self) -> ServerStatus: ...

    async def settings(self) -> SessionSettings: ...
