"""An httpx transport that connects to the very address that was checked: a name is resolved once, so it cannot lead
somewhere else when the connection is made."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import httpx

from organism.sessions.tools.base import ToolFailed
from organism.sessions.tools.public_addresses import AllowedHosts, is_public, literal

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""From host and port to addresses as text; OSError when there are none."""


class PinnedTransport(httpx.AsyncBaseTransport):
    """Refuses, with ToolFailed, what `allowed` does not name and names that lead to an inner address."""

    def __init__(self, allowed: AllowedHosts, resolve: Resolver) -> None:
        self._allowed = allowed
        self._resolve = resolve
        # No connection is kept: one to an address must not serve another name of it.
        self._inner = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        host = url.raw_host.decode("ascii").strip("[]")
        if url.userinfo:
            raise ToolFailed("the URL holds a user or password; fetch it without")
        if (reason := self._allowed.why_not(url.scheme, host, url.port)) is not None:
            raise ToolFailed(reason)
        address = await self._address(host, url.port or (443 if url.scheme == "https" else 80))
        pinned = httpx.Request(
            request.method, url.copy_with(host=address), headers=request.headers, stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},  # the certificate must be the name's
        )  # fmt: skip
        return await self._inner.handle_async_request(pinned)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _address(self, host: str, port: int) -> str:
        if (address := literal(host)) is not None:
            return str(address)  # allow_hosts names this very address
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise ToolFailed(f"host {host!r} is not known") from error
        if not found:
            raise ToolFailed(f"host {host!r} has no address")
        for each in found:
            if not is_public(ipaddress.ip_address(each)):
                raise ToolFailed(f"host {host!r} leads to an address that is not public")
        return found[0]


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]
