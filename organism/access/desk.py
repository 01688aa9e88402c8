"""Access control in the pump: keys and audit over the storage, and what replicas tell each other through it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey, IssuedKey, NewKey, issue
from organism.access.ref import AccessNews, ReplicaReport, Used
from organism.config import PrincipalLimits
from organism.errors import KeyNotFound, StorageError, TokensSpent
from organism.messages import now_ms
from organism.storage.access.base import AccessStorage

LOOK_S = 0.25
"""How often the storage is asked, at most, whether keys have changed: by whoever syncs first then. Less than the time
between a replica's syncs, which this would otherwise double where another replica has asked just before."""

FORGET_S = 10.0
"""A replica that has not reported for so long is gone, and its streams with it."""

USES_S = 30.0
"""How often it is stored when keys were last used."""

logger = logging.getLogger(__name__)


class _Replica:
    """Of one replica: what it last reported, and what others have reported since."""

    def __init__(self) -> None:
        self.seen_s = 0.0
        self.streams: dict[str, int] = {}
        self.others: dict[str, Used] = {}


class AccessDesk:
    """Implements AccessRef.

    limits: auth.limits, as they are now. clock_s: never goes back. today: in UTC.
    """

    def __init__(
        self,
        storage: AccessStorage,
        limits: Callable[[], PrincipalLimits],
        *,
        clock_s: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._storage = storage
        self._limits = limits
        self._clock_s = clock_s
        self._today = today
        self._replicas: dict[str, _Replica] = {}
        self._keys: list[ApiKey] = []
        self._stored_version: int | None = None
        self._version = now_ms()  # another one than any of a pump before
        self._looked_s = float("-inf")
        self._looking = asyncio.Lock()
        self._is_blind = False
        self._uses: dict[str, int] = {}
        self._uses_stored_s = clock_s()
        self._day = ""
        self._tokens: dict[str, int] = {}

    async def open(self) -> None:
        """Raises: StorageVersionError, StorageUnavailable."""
        await self._storage.open()

    async def close(self) -> None:
        await self._store_uses()
        await self._storage.close()

    async def sync(self, report: ReplicaReport) -> AccessNews:
        if self._clock_s() - self._looked_s >= LOOK_S:
            await self._look_again()
        replica = self._take_report(report)
        others = {
            principal: Used(used.requests, used.commands, self._streams_beside(report.replica, principal))
            for principal, used in self._told(report.replica, replica).items()
        }
        replica.others = {}
        _keep_latest(self._uses, report.key_uses)
        if self._clock_s() - self._uses_stored_s >= USES_S:
            await self._store_uses()
        keys = self._keys if report.version != self._version else None
        return AccessNews(self._version, keys, others)

    async def add_key(self, new: NewKey) -> IssuedKey:
        issued = issue(new, now_ms())
        await self._storage.add_key(issued.key)
        await self._look_again(at_once=True)
        return issued

    async def revoke_key(self, name: str) -> ApiKey:
        keys = await self._storage.keys()
        key = next((each for each in keys if name in (each.name, each.id) and each.revoked_at is None), None)
        if key is None:
            raise KeyNotFound(name)
        now = now_ms()
        await self._storage.revoke_key(key.id, now)
        await self._look_again(at_once=True)
        return key._replace(revoked_at=now)

    async def keys(self) -> list[ApiKey]:
        return [self._with_last_use(key) for key in await self._storage.keys()]

    async def audit(self, records: list[AuditRecord]) -> None:
        if records:
            await self._storage.append_audit(records)

    async def audit_page(self, where: AuditFilter, limit: int) -> list[AuditRecord]:
        return await self._storage.audit(where, limit)

    async def check_tokens(self, principal: str) -> None:
        most = self._limits().tokens_per_day
        if most is not None and await self._tokens_of(principal) >= most:
            raise TokensSpent(most, self._until_midnight_s())

    async def count_tokens(self, principal: str, tokens: int) -> None:
        if tokens > 0:
            day = self._begin_day()
            self._keep_tokens(principal, day, await self._storage.add_tokens(principal, day, tokens))

    # Keys

    async def _look_again(self, *, at_once: bool = False) -> None:
        """Reads the keys anew where they have changed, by whomever. While the storage does not answer, those that are
        known count: nobody can revoke one then either.

        Raises:
            StorageUnavailable: none are known yet.
        """
        async with self._looking:
            if not at_once and self._clock_s() - self._looked_s < LOOK_S:
                return
            try:
                await self._look()
                self._is_blind = False
            except StorageError as error:
                if self._stored_version is None and not at_once:
                    raise
                if not self._is_blind:
                    logger.warning("keys that were added or revoked are not seen for now: %s", error)
                self._is_blind = True

    async def _look(self) -> None:
        stored_version = await self._storage.version()
        self._looked_s = self._clock_s()
        if stored_version != self._stored_version:
            self._keys = await self._storage.keys()
            self._stored_version = stored_version
            self._version += 1

    async def _store_uses(self) -> None:
        """When a key was last used is told for information: that it cannot be stored just now harms nobody."""
        uses, self._uses = self._uses, {}
        self._uses_stored_s = self._clock_s()
        if uses:
            try:
                await self._storage.note_uses(uses)
            except StorageError as error:
                _keep_latest(self._uses, uses)
                logger.warning("when keys were last used cannot be stored: %s", error)

    def _with_last_use(self, key: ApiKey) -> ApiKey:
        used_at = self._uses.get(key.id)
        return key if used_at is None else key._replace(last_used_at=max(used_at, key.last_used_at or 0))

    # What replicas tell each other

    def _take_report(self, report: ReplicaReport) -> _Replica:
        now_s = self._clock_s()
        self._replicas = {id_: each for id_, each in self._replicas.items() if now_s - each.seen_s < FORGET_S}
        replica = self._replicas.setdefault(report.replica, _Replica())
        replica.seen_s = now_s
        replica.streams = {principal: used.streams for principal, used in report.used.items() if used.streams}
        for other in self._replicas.values():
            if other is not replica:
                _add(other.others, report.used)
        return replica

    def _told(self, replica_id: str, replica: _Replica) -> dict[str, Used]:
        """What was used elsewhere, and those who only have streams there."""
        told = dict(replica.others)
        for other_id, other in self._replicas.items():
            if other_id != replica_id:
                for principal in other.streams:
                    told.setdefault(principal, Used())
        return told

    def _streams_beside(self, replica_id: str, principal: str) -> int:
        return sum(each.streams.get(principal, 0) for id_, each in self._replicas.items() if id_ != replica_id)

    # Tokens

    async def _tokens_of(self, principal: str) -> int:
        day = self._begin_day()
        if principal not in self._tokens:
            self._keep_tokens(principal, day, await self._storage.tokens(principal, day))
        return self._tokens.get(principal, 0)

    def _begin_day(self) -> str:
        day = self._today().date().isoformat()
        if day != self._day:
            self._day, self._tokens = day, {}
        return day

    def _keep_tokens(self, principal: str, day: str, total: int) -> None:
        """Answers may come out of order, and after midnight; totals only rise."""
        if day == self._day:
            self._tokens[principal] = max(total, self._tokens.get(principal, 0))

    def _until_midnight_s(self) -> float:
        now = self._today()
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        return (midnight - now).total_seconds()


def _keep_latest(uses: dict[str, int], more: dict[str, int]) -> None:
    for key_id, at in more.items():
        uses[key_id] = max(at, uses.get(key_id, 0))


def _add(totals: dict[str, Used], used: dict[str, Used]) -> None:
    for principal, each in used.items():
        before = totals.get(principal, Used())
        totals[principal] = Used(before.requests + each.requests, before.commands + each.commands)
