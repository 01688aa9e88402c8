"""Access control of one replica: what it knows of keys, and what it tells the pump of their use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from organism.access.principal import Principal
from organism.access.ref import AccessRef, ReplicaReport
from organism.errors import OrganismError, Unauthenticated
from organism.messages import new_id
from organism.tasks import Tasks
from organism.web_names import is_loopback
from serve_app.auditor import Auditor
from serve_app.authority import Authority
from serve_app.jwt_tokens import TokenVerifier
from serve_app.live import Live
from serve_app.token_checks import TokenChecks
from serve_app.usage import Usage

SYNC_S = 1.0
"""How long at most until a key that was made or revoked elsewhere counts here."""

NEVER_SYNCED = -1

logger = logging.getLogger(__name__)


class Access:
    """Who may use this replica, how much, and what is recorded of it.

    ref: None for an app without access control: everybody is LOCAL. bind_host: what the launcher listens on; None: not
    told.
    """

    def __init__(
        self,
        ref: AccessRef | None,
        live: Live,
        verifier: TokenVerifier | None = None,
        bind_host: str | None = None,
    ) -> None:
        self.ref = ref
        self.authority = Authority(_requirement(ref, live, bind_host), verifier)
        self.usage = Usage(lambda: live.auth.limits)
        self.tokens = TokenChecks(ref, live)
        self._tasks = Tasks(_report)
        self.auditor = Auditor(ref, self._tasks)
        self._replica = new_id()
        self._version = NEVER_SYNCED
        self._streams: dict[int, tuple[Principal, Callable[[], None]]] = {}
        self._opened = 0
        self._syncing = asyncio.Lock()
        self._first = asyncio.Event()
        if ref is None:
            self.authority.take([])
            self._first.set()

    async def __aenter__(self) -> Self:
        await self.auditor.__aenter__()
        if self.ref is not None:
            self._tasks.spawn(self._sync_always(), "access")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.auditor.__aexit__(kind, error, trace)
        await self._tasks.close()

    async def wait_informed(self, timeout_s: float) -> None:
        """Returns when the keys are known, or it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._first.wait()

    @contextmanager
    def stream(self, principal: Principal, end: Callable[[], None]) -> Iterator[None]:
        """A stream that stays open, over whichever protocol.

        Args:
            end: called once when who opened it is let in no more; must not block, and must not fail.

        Raises:
            RateLimited: the principal has too many.
            Unauthenticated: it was let in, and would not be now; a client of Socket.IO connects seconds after its
                headers were looked at.
        """
        if not self.authority.still_stands(principal):
            raise Unauthenticated("the key or token of this connection is no longer valid")
        counts = bool(principal.credential)
        if counts:
            self.usage.open_stream(principal.id)
        self._opened += 1
        number = self._opened
        self._streams[number] = (principal, end)
        try:
            yield
        finally:
            self._streams.pop(number, None)
            if counts:
                self.usage.close_stream(principal.id)

    async def refresh(self) -> None:
        """Learns of new and revoked keys at once. Raises: StorageUnavailable, OrganismUnreachable."""
        assert self.ref is not None
        async with self._syncing:
            uses, used = self.authority.take_uses(), self.usage.report()
            news = await self.ref.sync(ReplicaReport(self._replica, self._version, used, uses))
            if news.keys is not None:
                self.authority.take(news.keys)
            self._version = news.version
            self.usage.take_others(news.others)
        self._first.set()
        self._end_streams()

    def _end_streams(self) -> None:
        for number, (principal, end) in list(self._streams.items()):
            if not self.authority.still_stands(principal):
                self._streams.pop(number, None)
                end()

    async def _sync_always(self) -> None:
        complaint = ""
        while True:
            try:
                await self.refresh()
                complaint = ""
            except OrganismError as error:  # the keys that are known stay so
                if str(error) != complaint:
                    logger.warning("keys cannot be read anew: %s", error)
                complaint = str(error)
                self._end_streams()
            await asyncio.sleep(SYNC_S)


def _requirement(ref: AccessRef | None, live: Live, bind_host: str | None) -> Callable[[], bool | None]:
    """Whether authentication is on without any key; None before the organism's configuration is known.

    The launcher checks that there are keys where others reach the API; they may be gone from the storage later.
    """
    if bind_host is not None and not is_loopback(bind_host):
        return lambda: True
    return lambda: live.auth.required if live.known or ref is None else None


def _report(error: BaseException) -> None:
    logger.critical("a task of access control failed", exc_info=error)
