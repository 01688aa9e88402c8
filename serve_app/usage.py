"""How much each principal uses, against what auth.limits lets it: the same limits over all API replicas.

Each replica counts by itself and hears about once a second what the others let through. Rates are kept by GCRA, a token
bucket in one number (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm): when the bucket will be full again.

What others let through is known late, so it counts as having come `LAG_S` ago. That is never after it came, so that
nobody who keeps the limit is refused, however he spreads his requests over replicas; and who does not keep it gains
what passes until the others have heard of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil, inf
from typing import NamedTuple

from organism.access.ref import Used
from organism.config import PrincipalLimits
from organism.errors import RateLimited

BURST_S = 2.0
"""What a rested principal may use at once: this many seconds' worth."""

LAG_S = 2.5
"""Until what one replica has let through is known to all: twice the time between syncs, and some."""

MAX_PRINCIPALS = 10_000
STREAM_RETRY_S = 1.0

_ROUNDING_S = 1e-6
"""Sums of intervals are off by some billionths of a second; nobody is refused for these."""


class Allowance(NamedTuple):
    """For the headers RateLimit-Limit, -Remaining and -Reset of
    https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-06.

    limit: requests at once, after a rest. remaining: at once, now. reset_s: whole seconds until `limit` remain.
    """

    limit: int
    remaining: int
    reset_s: int


class Usage:
    """Of all principals, in this replica.

    limits: auth.limits, as they are now. clock: in seconds, never back.
    """

    def __init__(self, limits: Callable[[], PrincipalLimits], clock: Callable[[], float] = time.monotonic) -> None:
        self._current = limits
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._synced = self._synced_before = clock()
        self._adopt(limits())

    def take_request(self, principal_id: str) -> Allowance:
        """Raises: RateLimited."""
        if (limits := self._current()) is not self._limits:
            self._adopt(limits)
        now, pace = self._clock(), self._requests
        account = self._accounts.get(principal_id) or self._open_account(principal_id)
        meter = account.requests
        full_at = (meter.full_at if meter.full_at > now else now) + pace.interval_s
        room_s = now + pace.burst_s - full_at
        if room_s < 0:
            raise RateLimited("requests per second", limits.requests_per_s, "auth.limits.requests_per_s", -room_s)
        meter.full_at = full_at
        meter.used += 1
        return pace.allowance(full_at - now)

    def allowance(self, principal_id: str) -> Allowance:
        """What is left; takes nothing."""
        now, account = self._clock(), self._accounts.get(principal_id)
        return self._requests.allowance(max(0.0, account.requests.full_at - now) if account else 0.0)

    def command_delay_s(self, principal_id: str) -> float:
        """Takes one command, and says how long to wait before it is carried out; 0.0 mostly. It is never refused."""
        if (limits := self._current()) is not self._limits:
            self._adopt(limits)
        now, pace = self._clock(), self._commands
        account = self._accounts.get(principal_id) or self._open_account(principal_id)
        meter = account.commands
        meter.full_at = (meter.full_at if meter.full_at > now else now) + pace.interval_s
        meter.used += 1
        return max(0.0, meter.full_at - now - pace.burst_s)

    def open_stream(self, principal_id: str) -> None:
        """Raises: RateLimited."""
        account = self._accounts.get(principal_id) or self._open_account(principal_id)
        most = self._current().streams
        if account.streams + account.streams_elsewhere >= most:
            raise RateLimited("open streams", most, "auth.limits.streams", STREAM_RETRY_S)
        account.streams += 1

    def close_stream(self, principal_id: str) -> None:
        """Each that was opened is to be closed once."""
        self._accounts[principal_id].streams -= 1

    def report(self) -> dict[str, Used]:
        """What was let through here since the last report, and the streams that are open here now."""
        since = self._known_since()
        used = {
            principal_id: account.settle(since, self._requests, self._commands)
            for principal_id, account in self._accounts.items()
        }
        return {principal_id: each for principal_id, each in used.items() if any(each)}

    def take_others(self, others: dict[str, Used]) -> None:
        """What other replicas have let through since this was last called, and the streams that are open there now;
        those that it does not name have none."""
        since, nothing = self._known_since(), Used()
        self._synced_before, self._synced = self._synced, self._clock()
        for principal_id in others.keys() - self._accounts.keys():
            self._open_account(principal_id)
        for principal_id, account in self._accounts.items():
            used = others.get(principal_id, nothing)
            account.requests.add(used.requests, since, self._requests)
            account.commands.add(used.commands, since, self._commands)
            account.streams_elsewhere = used.streams
        self._drop_idle(since)

    def _adopt(self, limits: PrincipalLimits) -> None:
        self._limits = limits
        self._requests = _Pace.of(limits.requests_per_s, limits.request_burst)
        self._commands = _Pace.of(limits.commands_per_s)

    def _known_since(self) -> float:
        """No later than anything that is not known to all replicas; earlier where they have not synced for a while."""
        return min(self._clock() - LAG_S, self._synced_before)

    def _open_account(self, principal_id: str) -> _Account:
        if len(self._accounts) >= MAX_PRINCIPALS:
            self._drop_idle(self._known_since())
        if len(self._accounts) >= MAX_PRINCIPALS:
            self._drop_oldest()
        account = self._accounts[principal_id] = _Account()
        return account

    def _drop_idle(self, since: float) -> None:
        for principal_id in [each for each, account in self._accounts.items() if account.is_idle(since)]:
            del self._accounts[principal_id]

    def _drop_oldest(self) -> None:
        """It begins anew, which is a small gift; but memory is bounded, whoever issues tokens to how many users."""
        oldest = next((each for each, account in self._accounts.items() if not account.streams), None)
        if oldest is not None:
            del self._accounts[oldest]


class _Pace(NamedTuple):
    """interval_s: between two at the full rate. burst: at once, after a rest. burst_s: what these are worth."""

    interval_s: float
    burst: int
    burst_s: float

    @classmethod
    def of(cls, per_s: float, burst: int | None = None) -> _Pace:
        count = burst or max(1, int(BURST_S * per_s))
        return cls(1 / per_s, count, count / per_s + _ROUNDING_S)

    def allowance(self, full_in_s: float) -> Allowance:
        """What is left where the whole burst is there again in so many seconds."""
        left = max(0, int((self.burst_s - full_in_s) / self.interval_s))
        return Allowance(self.burst, left, ceil(full_in_s - _ROUNDING_S))


class _Meter:
    """full_at: when the whole burst is there again. used: here, since the last report. shared_full_at: as `full_at`,
    by all that is known to all replicas, counted as late as it is known: never later than what is true."""

    __slots__ = ("full_at", "shared_full_at", "used")

    def __init__(self) -> None:
        self.full_at = -inf
        self.shared_full_at = -inf
        self.used = 0

    def add(self, count: int, since: float, pace: _Pace) -> None:
        if count:
            self.shared_full_at = max(self.shared_full_at, since) + count * pace.interval_s
            self.full_at = max(self.full_at, self.shared_full_at)

    def settle(self, since: float, pace: _Pace) -> int:
        used, self.used = self.used, 0
        self.add(used, since, pace)
        return used

    def is_idle(self, since: float) -> bool:
        return not self.used and self.full_at <= since and self.shared_full_at <= since


class _Account:
    """What one principal uses. streams: open here; streams_elsewhere: open at other replicas."""

    __slots__ = ("commands", "requests", "streams", "streams_elsewhere")

    def __init__(self) -> None:
        self.requests = _Meter()
        self.commands = _Meter()
        self.streams = 0
        self.streams_elsewhere = 0

    def settle(self, since: float, requests: _Pace, commands: _Pace) -> Used:
        return Used(self.requests.settle(since, requests), self.commands.settle(since, commands), self.streams)

    def is_idle(self, since: float) -> bool:
        streams = self.streams or self.streams_elsewhere
        return not streams and self.requests.is_idle(since) and self.commands.is_idle(since)
