"""Tokens per minute: a rolling window over what was used. Pure; the caller brings the time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_S = 60.0


@dataclass(slots=True)
class Spending:
    """Tokens taken at one moment: an estimate first, corrected when the call has ended."""

    at_s: float
    tokens: int


class TokenWindow:
    """At most `limit` tokens within any 60 s; None for as many as you like.

    One call of more than the limit is let through when nothing else is in the window: it would wait for ever.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._spendings: deque[Spending] = deque()
        self._used = 0

    def wait_s(self, tokens: int, now_s: float) -> float:
        """Seconds until `tokens` more fit in; 0 when they do now."""
        self._forget(now_s)
        if self._limit is None:
            return 0.0
        excess = self._used + tokens - self._limit
        wait_s = 0.0
        for spending in self._spendings:
            if excess <= 0:
                break
            excess -= spending.tokens
            wait_s = spending.at_s + WINDOW_S - now_s
        return max(0.0, wait_s)

    def spend(self, tokens: int, now_s: float) -> Spending:
        """Counts `tokens` from now on; hand the answer to `correct` when the true number is known."""
        spending = Spending(now_s, tokens)
        if self._limit is not None:
            self._spendings.append(spending)
            self._used += tokens
        return spending

    def correct(self, spending: Spending, tokens: int, now_s: float) -> None:
        """Puts the true number in the place of the estimate, unless that has left the window."""
        self._forget(now_s)
        if self._spendings and spending.at_s >= self._spendings[0].at_s:
            self._used += tokens - spending.tokens
            spending.tokens = tokens

    def _forget(self, now_s: float) -> None:
        while self._spendings and self._spendings[0].at_s <= now_s - WINDOW_S:
            self._used -= self._spendings.popleft().tokens
