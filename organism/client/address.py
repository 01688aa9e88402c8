"""Where an organism answers."""

from __future__ import annotations

from ipaddress import ip_address

import httpx


def is_address(url: str) -> bool:
    """Whether this can be the address of an organism: http or https, and a host."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host)


def may_use_proxy(url: str) -> bool:
    """Whether HTTP_PROXY and its like hold for this address: not on this machine, which no proxy can reach."""
    host = httpx.URL(url).host
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
