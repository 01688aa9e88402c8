"""What the owner of sessions may use: runs under way at once, and tokens per day."""

from __future__ import annotations

from collections.abc import Callable

from organism.access.tally import Tally, is_bound
from organism.config import PrincipalLimits
from organism.errors import OrganismError, TooManyRuns
from organism.sessions.seats import Seat, Seats


class Quotas:
    """limits: auth.limits, as they are now.

    Sessions without an owner, or made without authentication, use as much as they like.
    """

    def __init__(self, seats: Seats, limits: Callable[[], PrincipalLimits], tally: Tally) -> None:
        self._seats = seats
        self._limits = limits
        self._tally = tally

    def may_refuse(self, owner: str | None) -> bool:
        """Whether runs of this owner are limited at all."""
        limits = self._limits()
        return is_bound(owner) and (limits.runs is not None or limits.tokens_per_day is not None)

    def runs_refusal(self, seat: Seat) -> TooManyRuns | None:
        """Why the session of this seat may not begin a run; what runs in it already does not count."""
        limit, owner = self._limits().runs, seat.record.owner
        if limit is None or not is_bound(owner):
            return None
        others = self._seats.running_of(owner) - {seat.record.id}
        return TooManyRuns(limit) if len(others) >= limit else None

    async def tokens_refusal(self, seat: Seat) -> OrganismError | None:
        """As runs_refusal, for tokens: TokensSpent, or StorageUnavailable where they cannot be told."""
        owner = seat.record.owner
        if self._limits().tokens_per_day is None or not is_bound(owner):
            return None
        try:
            await self._tally.check(owner)
        except OrganismError as error:
            return error
        return None

    def count(self, owner: str | None, tokens: int) -> None:
        """They have been used."""
        self._tally.add(owner, tokens)
