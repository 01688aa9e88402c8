"""The storage seam of access control: keys, the audit log, tokens used per day. Unlike the log's, several processes may
have it open at once: the pump, and `organism keys` beside it.

All providers pass tests/contracts/test_access_storage.py.
"""

from __future__ import annotations

from typing import Protocol

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey


class AccessStorage(Protocol):
    """A provider. Every method raises StorageUnavailable when the medium fails for now; nothing was written then."""

    async def open(self) -> None:
        """Opens or creates the store and brings its schema up to date.

        Raises:
            StorageVersionError
        """
        ...

    async def close(self) -> None:
        """Safe to call twice."""
        ...

    async def version(self) -> int:
        """Another number whenever keys were added or revoked, by whomever. Cheap: asked for every second."""
        ...

    async def keys(self) -> list[ApiKey]:
        """The oldest first, also revoked ones."""
        ...

    async def add_key(self, key: ApiKey) -> None:
        """Raises: KeyExists, where a key of this name is not revoked."""
        ...

    async def revoke_key(self, key_id: str, now_ms: int) -> None:
        """Changes nothing where it is revoked already, or is none."""
        ...

    async def note_uses(self, uses: dict[str, int]) -> None:
        """When keys were last used, by id, in milliseconds since 1970; earlier than what is stored changes nothing."""
        ...

    async def append_audit(self, records: list[AuditRecord]) -> None:
        """Appends all of them durably; their `seq` is given here, rising: they are larger than any that could be read
        before, also of other processes. Nothing changes or removes a record."""
        ...

    async def audit(self, where: AuditFilter, limit: int) -> list[AuditRecord]:
        """The newest first."""
        ...

    async def add_tokens(self, principal: str, day: str, tokens: int) -> int:
        """Adds to what was used on `day` (2026-11-21); returns the sum."""
        ...

    async def tokens(self, principal: str, day: str) -> int: ...

    async def tokens_of_day(self, day: str) -> dict[str, int]:
        """What was used on `day`, by principal."""
        ...
