"""Tokens that were used and are not counted yet: they gather for a moment, so that counting costs little."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol, TypeGuard

from organism.access.principal import LOCAL
from organism.errors import OrganismError
from organism.tasks import Tasks

logger = logging.getLogger(__name__)

COUNT_INTERVAL_S = 1.0
"""For how long tokens gather until they are counted; whoever is checked meanwhile has his counted at once."""

CLOSE_TIMEOUT_S = 5.0
"""How long a stop waits for the last count."""


class Spending(Protocol):
    """Tokens of principals, by their ids; AccessRef has them. Both raise StorageUnavailable."""

    async def check_tokens(self, owner: str, /) -> None:
        """Raises: TokensSpent."""
        ...

    async def count_tokens(self, owner: str, tokens: int, /) -> None: ...


class Tally:
    """What owners have used since it was last counted; nobody's tokens, and those without authentication, never are."""

    def __init__(self, spending: Spending, tasks: Tasks) -> None:
        self._spending = spending
        self._tasks = tasks
        self._uncounted: dict[str, int] = {}  # tokens by owner
        self._turn = asyncio.Lock()
        self._counting: asyncio.Task[None] | None = None
        self._complaint = ""

    def add(self, owner: str | None, tokens: int) -> None:
        """They have been used. Where they cannot be counted now that is tried again."""
        if tokens <= 0 or not is_bound(owner):
            return
        self._uncounted[owner] = self._uncounted.get(owner, 0) + tokens
        if self._counting is None or self._counting.done():
            self._counting = self._tasks.spawn(self._count_always(), "count of tokens")

    async def check(self, owner: str) -> None:
        """Whether the owner has tokens left. Raises: TokensSpent; StorageUnavailable, where that cannot be told."""
        await self._count(owner)
        await self._spending.check_tokens(owner)

    async def settle(self) -> None:
        """Counts all that was not counted yet. Raises: StorageUnavailable, and the rest is kept."""
        for owner in list(self._uncounted):
            await self._count(owner)

    async def close(self) -> None:
        """Counts the rest, if that can be done in time."""
        with suppress(TimeoutError, OrganismError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.settle()

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

    async def _count(self, owner: str) -> None:
        async with self._turn:  # so that whoever asks next finds them counted
            tokens = self._uncounted.get(owner, 0)
            if not tokens:
                return
            await self._spending.count_tokens(owner, tokens)
            self._uncounted[owner] -= tokens
            if not self._uncounted[owner]:
                del self._uncounted[owner]


def is_bound(owner: str | None) -> TypeGuard[str]:
    """Whether limits hold for this owner."""
    return owner is not None and owner != LOCAL.id
