"""Whether who sends to agents has tokens left: asked of the pump, and remembered for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from organism.access.principal import Principal
from organism.access.ref import AccessRef
from organism.errors import OrganismUnreachable
from serve_app.live import Live

REMEMBERED_S = 1.0
"""For how long it counts that somebody had tokens left: as long as used ones gather in the pump."""

MAX_REMEMBERED = 10_000


def payer_of(principal: Principal) -> str | None:
    """Who pays for what agents do because of this principal; nobody does without authentication."""
    return principal.id if principal.credential else None


class TokenChecks:
    """ref: None where there is no access control."""

    def __init__(self, ref: AccessRef | None, live: Live, clock: Callable[[], float] = time.monotonic) -> None:
        self._ref = ref
        self._live = live
        self._clock = clock
        self._passed_s: dict[str, float] = {}  # when, by principal id, the oldest first

    async def check(self, principal: Principal) -> None:
        """Asks nobody where auth.limits.tokens_per_day is not set.

        Raises:
            TokensSpent: today's are used up.
            OrganismUnreachable, StorageUnavailable: it cannot be told.
        """
        owner = payer_of(principal)
        if self._ref is None or owner is None or self._live.auth.limits.tokens_per_day is None:
            return
        if self._clock() - self._passed_s.get(owner, float("-inf")) < REMEMBERED_S:
            return
        timeout_s = self._live.api.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._ref.check_tokens(owner)
        except TimeoutError:
            raise OrganismUnreachable(f"no answer within {timeout_s:g} s") from None
        self._remember(owner)

    def _remember(self, owner: str) -> None:
        self._passed_s.pop(owner, None)
        self._passed_s[owner] = self._clock()
        if len(self._passed_s) > MAX_REMEMBERED:
            del self._passed_s[next(iter(self._passed_s))]
