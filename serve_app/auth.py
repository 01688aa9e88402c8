"""Who asks, and whether that one may: the one place that decides.

Every route, WebSocket command and Socket.IO event states what it needs. A route does with `needs`, and is a
GuardedRoute: without that it cannot be made. What says who asks is read from each request by gate.py, which is around
all of them; behind the ingress, as the ports of replicas can be reached as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from librarian.errors import LibrarianError, LibraryNotFound
from organism.access.audit import AuditRecord, Outcome
from organism.access.principal import Principal, Role
from organism.errors import AgentNotFound, Forbidden, OrganismError, Unauthenticated
from organism.messages import now_ms
from serve_app.auditor import Auditor

PRINCIPAL = "organism.principal"
"""Where a scope has who asks; None for nobody known."""

_ADDRESS = "organism.address"
_TARGET = "organism.audit_target"
_NEED = "__organism_need__"

BATCHED = ("inject", "session.create", "session.delete")
"""Verbs that come by the thousand: their records are not waited for, and made only where it is known who it was."""

BROKEN_OFF = "broken off; it may have taken effect"
"""Of a verb that ended by a timeout, a client that left or a bug: nobody knows how far it came."""

Bound = Literal["refused", "agent", "library", "handled"]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Need(NamedTuple):
    """role: the least that may; None for everybody, also without credentials. audit: the verb that is recorded.
    bound: what a bound key may do here: nothing; what its agents allow (path parameter `name`), or its libraries
    (`library_id`); or the route looks at the bounds itself."""

    role: Role | None
    audit: str = ""
    bound: Bound = "refused"


def needs(role: Role | None, *, audit: str = "", bound: Bound = "refused") -> Callable[[Endpoint], Endpoint]:
    """Marks an endpoint with what it needs; see Need."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _NEED, Need(role, audit, bound))
        return endpoint

    return mark


def need_of(endpoint: Callable[..., Any]) -> Need:
    """Raises: TypeError, for an endpoint that does not say."""
    need = getattr(endpoint, _NEED, None)
    if need is None:
        raise TypeError(f"{endpoint.__module__}.{endpoint.__name__} does not say what it needs; mark it with @needs")
    return need


def principal_of(scope: Scope) -> Principal:
    """Who sent this request. Raises: Unauthenticated, OrganismUnreachable."""
    principal: Principal | None = scope.get(PRINCIPAL)
    if principal is None:
        raise scope["app"].state.replica.access.authority.refusal_of_nobody()
    return principal


def check_role(principal: Principal, role: Role) -> None:
    """Raises: Forbidden."""
    if principal.role < role:
        raise Forbidden(f"this needs the role {role.label}; {principal.id} is {principal.role.label}")


def audit_target(scope: Scope, target: str) -> None:
    """What this request is about, where its path does not say so."""
    scope[_TARGET] = target


class GuardedRoute(APIRoute):
    """Lets through who may, and records verbs."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.need = need_of(endpoint)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.need.audit:
            await self._handle_recorded(scope, receive, send)
            return
        self._admit(scope)
        await super().handle(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        if self.need.role is None:
            return
        principal = scope[PRINCIPAL] or principal_of(scope)
        if principal.role < self.need.role:
            check_role(principal, self.need.role)
        if principal.bounds is not None:
            _check_bounds(self.need.bound, principal, scope["path_params"])

    async def _handle_recorded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One record, kept before the client has the answer; noted where this route gives none."""
        is_recorded = False

        async def send_recorded(message: Message) -> None:
            nonlocal is_recorded
            if message["type"] == "http.response.start":
                is_recorded = True  # first: the wait for the storage may be broken off, and there is a record then
                await self._record(scope, message["status"])
            await send(message)

        try:
            self._admit(scope)
        except (OrganismError, LibrarianError) as error:
            if scope[PRINCIPAL] is not None:
                await self._record(scope, 403)
            elif isinstance(error, Unauthenticated):
                self._note_stranger(scope, error)
            raise
        try:
            await super().handle(scope, receive, send_recorded)
        except HTTPException:  # the method is none of this route's: nothing has begun
            raise
        except BaseException:  # cancelled, by the timeout of requests or the server, or a bug
            if not is_recorded:
                self._note_broken_off(scope)
            raise

    def _note_stranger(self, scope: Scope, error: Unauthenticated) -> None:
        """As a failed login, many of which make one record: whoever has no key must not be able to fill the log, nor
        keep the records of others out of it."""
        scope["app"].state.replica.access.auditor.note(record_of(scope, "login", scope["path"], 401, str(error)))

    async def _record(self, scope: Scope, status: int) -> None:
        if (auditor := self._auditor(scope)) is None:
            return
        record = record_of(scope, self.need.audit, _target_of(scope), status)
        if self.need.audit in BATCHED:
            auditor.note(record)
        else:
            await auditor.keep(record)

    def _note_broken_off(self, scope: Scope) -> None:
        """Does not wait: that would be broken off as well."""
        if (auditor := self._auditor(scope)) is not None:
            auditor.note(record_of(scope, self.need.audit, _target_of(scope), 500, BROKEN_OFF))

    def _auditor(self, scope: Scope) -> Auditor | None:
        """None where this verb is not recorded."""
        access = scope["app"].state.replica.access
        if self.need.audit in BATCHED and not access.authority.is_required:
            return None
        return access.auditor


def _check_bounds(bound: Bound, principal: Principal, parameters: dict[str, str]) -> None:
    if bound == "agent" and not principal.may_reach_agent(parameters["name"]):
        raise AgentNotFound(parameters["name"])
    if bound == "library" and not principal.may_reach_library(parameters["library_id"]):
        raise LibraryNotFound(parameters["library_id"])
    if bound == "refused":
        raise Forbidden(f"{principal.id} is bound to agents, libraries or sessions, and this is about more than these")


def record_of(scope: Scope, action: str, target: str, status: int, detail: str = "") -> AuditRecord:
    """status: of HTTP, or what a command would have had."""
    principal: Principal | None = scope.get(PRINCIPAL)
    who, address = principal.id if principal else "", address_of(scope)
    if status < 400:
        return AuditRecord(now_ms(), who, action, target, address, "ok", detail)
    outcome: Outcome = "refused" if status < 500 else "failed"
    return AuditRecord(now_ms(), who, action, target, address, outcome, detail or f"status {status}")


def _target_of(scope: Scope) -> str:
    return scope.get(_TARGET) or "/".join(str(each) for each in scope.get("path_params", {}).values())


def address_of(scope: Scope) -> str:
    """Of the client. What a proxy says of it counts only where the proxy is on this machine: anyone can say so."""
    if (known := scope.get(_ADDRESS)) is None:
        known = scope[_ADDRESS] = _address_in(scope)
    return known


def _address_in(scope: Scope) -> str:
    host = (scope.get("client") or ("",))[0]
    own_host = (scope.get("server") or (None,))[0]  # the machine's own, where the connection came to it
    try:
        is_proxied = host == own_host or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host
    if is_proxied:
        for name, value in reversed(scope["headers"]):
            if name == b"x-forwarded-for":
                return value.decode("latin-1").rpartition(",")[2].strip()[:100] or host
    return host
