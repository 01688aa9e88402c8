"""What every request passes first: is it meant for this server, may the page that sent it, who asks, and how often.

A page elsewhere can make a browser call a server on loopback: under a name of its own that resolves to 127.0.0.1 (DNS
rebinding), which the Host header shows, or from its own origin, which the Origin header shows. Both are checked, also
where there is no authentication. See https://fetch.spec.whatwg.org/#origin-header.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from organism.access.principal import Principal
from organism.errors import Forbidden, OrganismError, RateLimited, Unauthenticated
from organism.web_names import is_loopback
from serve_app.access import Access
from serve_app.auth import PRINCIPAL, record_of
from serve_app.error_handlers import answer_organism_error
from serve_app.security_headers import CACHING, CONTENT_POLICY, NO_STORE, NOTHING, SECURITY_HEADERS
from serve_app.usage import Allowance

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

MAX_CREDENTIAL_BYTES = 8192

STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")


class Place(NamedTuple):
    """Where this API is to be found, and by whom.

    bind_host: what the launcher listens on. allowed_hosts, cors_origins: see ApiSection. has_tls: it speaks HTTPS.
    """

    bind_host: str
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    has_tls: bool = False


class _Given(NamedTuple):
    """What the headers of a request say."""

    host: str
    origin: str | None
    credential: str | None


class Gate:
    """Outermost of what is ours. place None: any Host will do, as in tests of routes."""

    def __init__(self, app: ASGIApp, place: Place | None = None) -> None:
        self._app = app
        self._place = place
        self._origins = frozenset(place.cors_origins) if place else frozenset()
        self._allows = lru_cache(1000)(self._compute_allowed)
        self._headers = (*SECURITY_HEADERS, STRICT_TRANSPORT) if place and place.has_tls else SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        access: Access = scope["app"].state.replica.access
        scope[PRINCIPAL] = None
        try:
            given = _given(scope["headers"])
            self._check_place(scope, given, access)
            if given.credential is None:
                principal = access.authority.nobody()
            else:
                principal = await self._identified(scope, given.credential, access)
            scope[PRINCIPAL] = principal
            allowance = access.usage.take_request(principal.id) if principal and principal.credential else None
        except OrganismError as error:
            await self._refuse(error, scope, receive, send, self._allowance(scope, error, access))
            return
        await self._app(scope, receive, self._guarded(send, allowance) if kind == "http" else send)

    async def _identified(self, scope: Scope, credential: str, access: Access) -> Principal | None:
        """Credentials are not looked at where none are needed: clients that send some work there, too."""
        authority = access.authority
        if not authority.is_required:
            return authority.nobody()
        try:
            return authority.recognise(credential) or await authority.identify(credential)
        except Unauthenticated as error:
            access.auditor.note(record_of(scope, "login", scope["path"], 401, str(error)))
            raise

    def _check_place(self, scope: Scope, given: _Given, access: Access) -> None:
        """Raises: Forbidden."""
        if self._place is None:
            return
        if not self._allows(given.host, access.authority.is_required):
            raise Forbidden(
                f"the name {given.host[:100]!r} is none by which this API may be called; add it to api.allowed_hosts"
            )
        if given.origin is None or (scope["type"] == "http" and scope["method"] in SAFE_METHODS):
            return
        if given.origin not in self._origins and not is_origin_of(given.host, given.origin):
            raise Forbidden(f"pages of {given.origin[:200]!r} may not use this API; add it to api.cors_origins")

    def _compute_allowed(self, host: str, is_required: bool) -> bool:
        assert self._place is not None
        name = _without_port(host)
        if is_loopback(name) or any(_matches(name, each) for each in self._place.allowed_hosts):
            return True
        return is_required and not self._place.allowed_hosts

    def _allowance(self, scope: Scope, error: OrganismError, access: Access) -> Allowance | None:
        """What is left to who is refused because nothing is left."""
        principal: Principal | None = scope[PRINCIPAL]
        return access.usage.allowance(principal.id) if principal and isinstance(error, RateLimited) else None

    async def _refuse(
        self, error: OrganismError, scope: Scope, receive: Receive, send: Send, allowance: Allowance | None
    ) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})  # answered as 403 by the server
            return
        response = await answer_organism_error(Request(scope), error)
        await response(scope, receive, self._guarded(send, allowance))

    def _guarded(self, send: Send, allowance: Allowance | None) -> Send:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._more_headers(message["headers"], allowance)]
            await send(message)

        return send_guarded

    def _more_headers(
        self, present: Iterable[tuple[bytes, bytes]], allowance: Allowance | None
    ) -> list[tuple[bytes, bytes]]:
        more = list(self._headers)
        has_policy = has_caching = False
        for name, _ in present:
            has_policy = has_policy or name == CONTENT_POLICY
            has_caching = has_caching or name == CACHING
        if not has_policy:
            more.append(NOTHING)
        if not has_caching:
            more.append(NO_STORE)
        if allowance is not None:
            more += (
                (b"ratelimit-limit", b"%d" % allowance.limit),
                (b"ratelimit-remaining", b"%d" % allowance.remaining),
                (b"ratelimit-reset", b"%d" % allowance.reset_s),
            )
        return more


def is_origin_of(host: str, origin: str) -> bool:
    """Whether pages of this origin come from the server that is called by this name. The scheme does not count:
    whoever ends TLS may be in front of us. Origins such as `null` are nobody's, also where there is no name."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:  # what no browser sends, as `http://[`
        return False


def _given(headers: Iterable[tuple[bytes, bytes]]) -> _Given:
    """Raises: Unauthenticated, where a credential is no text or far too long."""
    host, origin, key, token = "", None, None, None
    for name, value in headers:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"origin":
            origin = value.decode("latin-1")
        elif name == b"x-api-key":
            key = value
        elif name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                token = rest
    return _Given(host, origin, _credential(key or token))


def _credential(value: bytes | None) -> str | None:
    if value is None:
        return None
    if len(value) > MAX_CREDENTIAL_BYTES or not value.isascii():
        raise Unauthenticated("the credentials are no key and no token")
    return value.decode().strip()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _matches(name: str, pattern: str) -> bool:
    name, pattern = name.lower(), pattern.lower()
    return name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))
