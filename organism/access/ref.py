"""The outside of access control: what the API and the command line hold. access/desk.py implements it, in the pump."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey, IssuedKey, NewKey


class Used(NamedTuple):
    """What one API replica reports of one principal: requests and commands since its last report, open streams now."""

    requests: int = 0
    commands: int = 0
    streams: int = 0


class ReplicaReport(NamedTuple):
    """replica: an id of its own. version: of the keys it knows, -1 for none. used: by principal id; those that it
    does not name have no stream there. key_uses: when keys were last used, by key id, in milliseconds since 1970."""

    replica: str
    version: int
    used: dict[str, Used]
    key_uses: dict[str, int]


class AccessNews(NamedTuple):
    """keys: all of them, also revoked ones, where they have changed since `version`; else None.
    others: what other replicas have reported since this one's last report, and the streams open there now."""

    version: int
    keys: list[ApiKey] | None
    others: dict[str, Used]


class AccessRef(Protocol):
    """Every method raises StorageUnavailable, OrganismUnreachable."""

    async def sync(self, report: ReplicaReport) -> AccessNews:
        """Called by each replica about once a second. Keys that others have written to the storage meanwhile, as
        `organism keys` does, are seen within a second."""
        ...

    async def add_key(self, new: NewKey) -> IssuedKey:
        """Raises: KeyExists."""
        ...

    async def revoke_key(self, name: str) -> ApiKey:
        """By name or id. Raises: KeyNotFound."""
        ...

    async def keys(self) -> list[ApiKey]:
        """The oldest first, also revoked ones."""
        ...

    async def audit(self, records: list[AuditRecord]) -> None:
        """Appends them; they are durable on return."""
        ...

    async def audit_page(self, where: AuditFilter, limit: int) -> list[AuditRecord]:
        """The newest first."""
        ...

    async def check_tokens(self, principal: str) -> None:
        """Raises: TokensSpent, where today's are used up (auth.limits.tokens_per_day)."""
        ...

    async def count_tokens(self, principal: str, tokens: int) -> None:
        """Counts them for today (UTC)."""
        ...
