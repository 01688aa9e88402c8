"""Agent sessions as one principal sees them: those of others are not there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from organism.access.principal import ANY, LOCAL, Principal, Role
from organism.errors import Forbidden, ServerExclusive, SessionNotFound
from organism.sessions.events import Frame
from organism.sessions.records import ModelChoice, NewSession, SessionChanges, SessionFilter, SessionView
from organism.sessions.ref import SessionsRef, Watched
from organism.sessions.wire import Answered, Query, ServerStatus, SessionSettings, SessionStatus, Summary

if TYPE_CHECKING:
    from serve_app.dependencies import Replica

T = TypeVar("T")

MAX_OWNERS = 100_000


class OwnerCache:
    """Owners of sessions, by id: those that one replica was last asked about. An owner never changes."""

    def __init__(self, max_entries: int = MAX_OWNERS) -> None:
        self._max_entries = max_entries
        self._owners: OrderedDict[str, str | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._owners)

    def put(self, session_id: str, owner: str | None) -> None:
        self._owners[session_id] = owner
        self._owners.move_to_end(session_id)
        if len(self._owners) > self._max_entries:
            self._owners.popitem(last=False)

    def is_reached(self, principal: Principal, session_id: str) -> bool:
        """False also where the owner is not known here."""
        if session_id not in self._owners:
            return False
        self._owners.move_to_end(session_id)
        return principal.may_reach_session(session_id, self._owners[session_id])

    def forget(self, session_id: str) -> None:
        self._owners.pop(session_id, None)


def owner_of(principal: Principal) -> str | None:
    """Of the sessions that this principal makes; nobody's are those made without authentication."""
    return None if principal.id == LOCAL.id else principal.id


def sessions_of(replica: Replica, principal: Principal) -> SessionsRef:
    """The sessions of this organism as far as the principal may reach them. Raises: SessionsNotServed."""
    if principal.sees_everything:
        return replica.sessions
    return OwnedSessions(replica.sessions, principal, replica.owners)


class OwnedSessions:
    """Implements SessionsRef. A session that the principal may not reach is answered like one that does not exist:
    with the same error, found out by the same question to the storage. Views do not tell the owner."""

    def __init__(self, sessions: SessionsRef, principal: Principal, owners: OwnerCache) -> None:
        self._sessions = sessions
        self._principal = principal
        self._owners = owners

    async def create(self, new: NewSession, owner: str | None = None) -> SessionView:
        """The owner is the principal, whatever `owner` says. Raises also Forbidden."""
        bounds, owner = self._principal.bounds, owner_of(self._principal)
        if bounds is not None and ANY not in bounds.sessions:
            raise Forbidden(f"{self._principal.id} is bound to sessions, and can make none; a key for `*` can")
        view = await self._sessions.create(new, owner)
        self._owners.put(view.id, owner)
        return _without_owner(view)

    async def sessions(self, where: SessionFilter, limit: int, offset: int) -> tuple[list[SessionView], int]:
        found, total = await self._sessions.sessions(self._within(where), limit, offset)
        return [_without_owner(view) for view in found], total

    async def session(self, session_id: str) -> SessionView:
        await self._check(session_id)
        return _without_owner(await self._sessions.session(session_id))

    async def update(self, session_id: str, changes: SessionChanges) -> SessionView:
        await self._check(session_id)
        return _without_owner(await self._sessions.update(session_id, changes))

    async def delete(self, session_id: str) -> None:
        await self._check(session_id)
        await self._sessions.delete(session_id)
        self._owners.forget(session_id)

    async def restore(self, session_id: str) -> SessionView:
        await self._check(session_id)
        return _without_owner(await self._sessions.restore(session_id))

    async def events(self, session_id: str, after_seq: int, limit: int) -> list[Frame]:
        await self._check(session_id)
        return await self._sessions.events(session_id, after_seq, limit)

    async def status(self, session_id: str) -> SessionStatus:
        await self._check(session_id)
        return await self._sessions.status(session_id)

    async def ask(self, session_id: str, query: Query) -> Answered:
        await self._check(session_id)
        try:
            return await self._sessions.ask(session_id, query)
        except ServerExclusive as error:
            raise await self._discreet(error) from None

    async def begin(self, session_id: str, query: Query) -> int:
        await self._check(session_id)
        try:
            return await self._sessions.begin(session_id, query)
        except ServerExclusive as error:
            raise await self._discreet(error) from None

    @asynccontextmanager
    async def run(self, session_id: str, query: Query) -> AsyncIterator[AsyncIterator[list[Frame]]]:
        """See SessionsRef.run."""
        try:
            async with self._reached(session_id, lambda: self._sessions.run(session_id, query)) as batches:
                yield batches
        except ServerExclusive as error:
            raise await self._discreet(error) from None

    async def abort(self, session_id: str) -> bool:
        await self._check(session_id)
        return await self._sessions.abort(session_id)

    def watch(self, session_id: str, after_seq: int | None) -> AbstractAsyncContextManager[AsyncIterator[Watched]]:
        """See SessionsRef.watch."""
        return self._reached(session_id, lambda: self._sessions.watch(session_id, after_seq))

    async def summarize(self, session_id: str, messages: list[dict[str, Any]], model: ModelChoice | None) -> Summary:
        await self._check(session_id)
        return await self._sessions.summarize(session_id, messages, model)

    async def server_status(self) -> ServerStatus:
        """Of a session that runs it tells the id only to those who may reach it."""
        status = await self._sessions.server_status()
        if status.running_session_id is None or await self._reaches(status.running_session_id):
            return status
        return status._replace(running_session_id=None)

    async def settings(self) -> SessionSettings:
        return await self._sessions.settings()

    # Whose it is

    async def _check(self, session_id: str) -> None:
        """Raises: SessionNotFound."""
        if not await self._reaches(session_id):
            raise SessionNotFound(session_id)

    async def _reaches(self, session_id: str) -> bool:
        return self._owners.is_reached(self._principal, session_id) or await self._finds(session_id)

    async def _finds(self, session_id: str) -> bool:
        """Asks for it among the principal's own: what is not found there does not exist or is somebody else's, and how
        long the answer takes does not tell which. For the same reason this is asked again each time."""
        own = self._within(SessionFilter(ids=(session_id,)))
        found, _ = await self._sessions.sessions(own, 1, 0)
        for view in found:
            self._owners.put(view.id, view.owner)
        return bool(found)

    def _within(self, where: SessionFilter) -> SessionFilter:
        """The filter, narrowed to what the principal may reach."""
        principal = self._principal
        is_any = principal.bounds is not None and ANY in principal.bounds.sessions
        if principal.role < Role.ADMIN or is_any:
            where = where._replace(owner=principal.id)
        if principal.bounds is None or is_any:
            return where
        bound = principal.bounds.sessions
        ids = bound if where.ids is None else bound.intersection(where.ids)
        return where._replace(ids=tuple(sorted(ids)))

    @asynccontextmanager
    async def _reached(self, session_id: str, enter: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
        await self._check(session_id)
        async with enter() as entered:
            yield entered

    async def _discreet(self, error: ServerExclusive) -> ServerExclusive:
        """Without the id of a session that the principal may not reach."""
        return error if await self._reaches(error.running_session_id) else ServerExclusive("")


def _without_owner(view: SessionView) -> SessionView:
    return view if view.owner is None else view.model_copy(update={"owner": None})
