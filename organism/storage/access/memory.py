"""Access control in memory, for tests and trials: keys, audit and counts are gone with the process."""

from __future__ import annotations

from itertools import islice

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey
from organism.errors import KeyExists
from organism.storage.access.rows import storable, storable_filter, storable_record


class MemoryAccessStorage:
    """key_rows, audit_rows, token_counts: for asserting."""

    def __init__(self) -> None:
        self.key_rows: dict[str, ApiKey] = {}
        self.audit_rows: list[AuditRecord] = []
        self.token_counts: dict[tuple[str, str], int] = {}
        self._version = 0

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def version(self) -> int:
        return self._version

    async def keys(self) -> list[ApiKey]:
        return sorted(self.key_rows.values(), key=lambda key: key.created_at)

    async def add_key(self, key: ApiKey) -> None:
        if key.revoked_at is None and any(
            each.name == key.name and each.revoked_at is None for each in self.key_rows.values()
        ):
            raise KeyExists(key.name)
        self.key_rows[key.id] = key
        self._version += 1

    async def revoke_key(self, key_id: str, now_ms: int) -> None:
        key = self.key_rows.get(key_id)
        if key is not None and key.revoked_at is None:
            self.key_rows[key_id] = key._replace(revoked_at=now_ms)
            self._version += 1

    async def note_uses(self, uses: dict[str, int]) -> None:
        for key_id, at in uses.items():
            key = self.key_rows.get(key_id)
            if key is not None:
                self.key_rows[key_id] = key._replace(last_used_at=max(at, key.last_used_at or 0))

    async def append_audit(self, records: list[AuditRecord]) -> None:
        first = len(self.audit_rows) + 1
        self.audit_rows += [storable_record(record)._replace(seq=seq) for seq, record in enumerate(records, first)]

    async def audit(self, where: AuditFilter, limit: int) -> list[AuditRecord]:
        where = storable_filter(where)
        return list(islice((each for each in reversed(self.audit_rows) if _matches(each, where)), limit))

    async def add_tokens(self, principal: str, day: str, tokens: int) -> int:
        place = storable(principal), day
        self.token_counts[place] = self.token_counts.get(place, 0) + tokens
        return self.token_counts[place]

    async def tokens(self, principal: str, day: str) -> int:
        return self.token_counts.get((storable(principal), day), 0)

    async def tokens_of_day(self, day: str) -> dict[str, int]:
        return {principal: tokens for (principal, each), tokens in self.token_counts.items() if each == day}


def _matches(record: AuditRecord, where: AuditFilter) -> bool:
    return (
        (where.who is None or record.who == where.who)
        and (where.action is None or record.action == where.action)
        and (where.outcome is None or record.outcome == where.outcome)
        and (where.before is None or record.seq < where.before)
        and (where.since is None or record.at >= where.since)
        and (where.after is None or record.seq > where.after)
    )
