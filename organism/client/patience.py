"""When to try again after a connection was lost, and when to give up."""

from __future__ import annotations

import asyncio
import random
import time

from organism.client.errors import ApiError, ClientError, ConnectionLost, TimedOut, Unreachable

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0

_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})


def is_passing(error: ClientError) -> bool:
    """Whether the same request may succeed later: a server that starts again refuses, is silent, or says 503."""
    if isinstance(error, ApiError):
        return error.status in _RETRIED_STATUSES
    return isinstance(error, Unreachable | TimedOut | ConnectionLost)


class Patience:
    """Waits between attempts, longer each time, until `limit_s` have passed since the first; None: for ever."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._since_s: float | None = None
        self._delay_s = FIRST_DELAY_S

    def restore(self) -> None:
        """There was a sign of life."""
        self._since_s, self._delay_s = None, FIRST_DELAY_S

    async def wait(self, error: ClientError) -> None:
        """Sleeps until the next attempt. Raises `error` where waiting does not help, or patience is at its end."""
        if not is_passing(error):
            raise error
        now_s = time.monotonic()
        since_s = self._since_s = now_s if self._since_s is None else self._since_s
        if self._limit_s is not None and now_s - since_s >= self._limit_s:
            raise error
        asked_s = (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 0.0
        jittered_s = self._delay_s * random.uniform(0.5, 1.0)  # so that many clients do not come back as one
        await asyncio.sleep(max(jittered_s, min(asked_s, LONGEST_DELAY_S)))
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
