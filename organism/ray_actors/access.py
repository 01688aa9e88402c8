"""The outside of access control on Ray: the desk in the pump."""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey, IssuedKey, NewKey
from organism.access.ref import AccessNews, ReplicaReport
from organism.errors import OrganismError, OrganismUnreachable
from organism.ray_actors.pump_name import find_pump
from organism.ray_actors.reasons import reason_of


class RayAccess:
    """Implements AccessRef: asks the pump's actor, which it finds by its name."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._pump: Any = None

    async def sync(self, report: ReplicaReport) -> AccessNews:
        return await self._ask("sync", report)

    async def add_key(self, new: NewKey) -> IssuedKey:
        return await self._ask("add_key", new)

    async def revoke_key(self, name: str) -> ApiKey:
        return await self._ask("revoke_key", name)

    async def keys(self) -> list[ApiKey]:
        return await self._ask("keys")

    async def audit(self, records: list[AuditRecord]) -> None:
        await self._ask("audit", records)

    async def audit_page(self, where: AuditFilter, limit: int) -> list[AuditRecord]:
        return await self._ask("audit_page", where, limit)

    async def check_tokens(self, principal: str) -> None:
        await self._ask("check_tokens", principal)

    async def count_tokens(self, principal: str, tokens: int) -> None:
        await self._ask("count_tokens", principal, tokens)

    async def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            if self._pump is None:
                self._pump = find_pump(self._namespace)
            answer = await self._pump.ask_access.remote(method, *arguments)
        except RayActorError as error:
            self._pump = None
            raise OrganismUnreachable(reason_of(error)) from error
        if isinstance(answer, OrganismError):
            raise answer
        return answer


def connect_access(namespace: str) -> RayAccess:
    """Access control of the organism of this namespace, which is found when it is first asked."""
    return RayAccess(namespace)
