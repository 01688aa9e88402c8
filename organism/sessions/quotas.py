"""What the owner of sessions may use: runs under way at once, and tokens per day."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, TypeGuard

from organism.access.principal import LOCAL
from organism.config import PrincipalLimits
from organism.errors import OrganismError, TooManyRuns
from organism.sessions.seats import Seat, Seats
from organism.tasks import Tasks

logger = logging.getLogger(__name__)

COUNT_INTERVAL_S = 1.0
"""For how long tokens gather until they are counted; whoever begins a run meanwhile has his counted at once."""


class Spending(Protocol):
    """Tokens of principals, by their ids; AccessRef has them. Both raise StorageUnavailable."""

    async def check_tokens(self, owner: str, /) -> None:
        """Raises: TokensSpent."""
        ...

    async def count_tokens(self, owner: str, tokens: int, /) -> None: ...


class Quotas:
    """limits: auth.limits, as they are now. spending: None where tokens are not counted.

    Sessions without an owner, or made without authentication, use as much as they like.
    """

    def __init__(
        self, seats: Seats, limits: Callable[[], PrincipalLimits], spending: Spending | None, tasks: Tasks
    ) -> None:
        self._seats = seats
        self._limits = limits
        self._spending = spending
        self._tasks = tasks
        self._uncounted: dict[str, int] = {}  # tokens by owner
        self._turn = asyncio.Lock()
        self._counting: asyncio.Task[None] | None = None
        self._complaint = ""

    def may_refuse(self, owner: str | None) -> bool:
        """Whether runs of this owner are limited at all."""
        limits = self._limits()
        return _is_bound(owner) and (limits.runs is not None or limits.tokens_per_day is not None)

    def runs_refusal(self, seat: Seat) -> TooManyRuns | None:
        """Why the session of this seat may not begin a run; what runs in it already does not count."""
        limit, owner = self._limits().runs, seat.record.owner
        if limit is None or not _is_bound(owner):
            return None
        others = self._seats.running_of(owner) - {seat.record.id}
        return TooManyRuns(limit) if len(others) >= limit else None

    async def tokens_refusal(self, seat: Seat) -> OrganismError | None:
        """As runs_refusal, for tokens: TokensSpent, or StorageUnavailable where they cannot be told."""
        owner = seat.record.owner
        if self._spending is None or self._limits().tokens_per_day is None or not _is_bound(owner):
            return None
        try:
            await self._count(self._spending, owner)
            await self._spending.check_tokens(owner)
        except OrganismError as error:
            return error
        return None

    def count(self, owner: str | None, tokens: int) -> None:
        """They have been used. Where they cannot be counted now that is tried again."""
        if self._spending is None or tokens <= 0 or not _is_bound(owner):
            return
        self._uncounted[owner] = self._uncounted.get(owner, 0) + tokens
        if self._counting is None or self._counting.done():
            self._counting = self._tasks.spawn(self._count_always(), "count of tokens")

    async def settle(self) -> None:
        """Counts all that was not counted yet. Raises: StorageUnavailable, and the rest is kept."""
        if self._spending is not None:
            for owner in list(self._uncounted):
                await self._count(self._spending, owner)

    async def _count_always(self) -> None:
        while self._uncounted:
            await asyncio.sleep(COUNT_INTERVAL_S)
            try:
                await self.settle()
                self._complaint = ""
            except OrganismError as error:
                if str(error) != self._complaint:
                    logger.warning("tokens cannot be counted for now: %s", error)
                self._complaint = str(error)

    async def _count(self, spending: Spending, owner: str) -> None:
        async with self._turn:  # so that whoever asks next finds them counted
            tokens = self._uncounted.get(owner, 0)
            if not tokens:
                return
            await spending.count_tokens(owner, tokens)
            self._uncounted[owner] -= tokens
            if not self._uncounted[owner]:
                del self._uncounted[owner]


def _is_bound(owner: str | None) -> TypeGuard[str]:
    """Whether limits hold for this owner."""
    return owner is not None and owner != LOCAL.id
