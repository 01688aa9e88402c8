"""How browsers and clients write origins and hosts: what is compared with them has to be written the same way."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}

_OF_SOCKETS = ("ws", "wss")
"""No page is loaded by these: the origin of whoever opens a socket is that of its page."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def origin_of(text: str) -> str | None:
    """The origin as browsers send it (https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin), of `text` that
    means one or is a URL of it; https where no scheme is given. Applications made of pages have schemes of their own,
    as capacitor://localhost. None where no origin can be meant."""
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        name, port = url.hostname, url.port
    except ValueError:  # such as a port that is no number
        return None
    host = None if name is None or url.username is not None else _name_of(name)
    if host is None or url.scheme in _OF_SOCKETS:
        return None
    place = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{place}" + ("" if port in (None, _DEFAULT_PORTS.get(url.scheme)) else f":{port}")


def host_of(text: str) -> str | None:
    """The name or address alone, without scheme, port and brackets, of `text` that means one or is a URL of it;
    `*.example.org` stays so. None where no host can be meant."""
    address = text.partition("://")[2] if "://" in text else text
    star = "*." if address.startswith("*.") else ""
    address = address.removeprefix(star)
    if _is_ipv6(address):
        address = f"[{address}]"
    try:
        url = urlsplit(f"//{address}")
        _ = url.port  # ValueError where it is none
    except ValueError:
        return None
    host = None if url.hostname is None or url.username is not None else _name_of(url.hostname)
    return None if host is None or (star and _is_address(host)) else star + host


def is_loopback(name: str) -> bool:
    """Whether only this machine is called by this name or address, or listens there."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def is_safe_to_trust(url: str) -> bool:
    """Whether nobody on the way can change what is read there."""
    try:
        parts = urlsplit(url)
        name, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(name) and (parts.scheme == "https" or (parts.scheme == "http" and name in _LOOPBACK))


def _name_of(text: str) -> str | None:
    """In ASCII and lower case, addresses in their shortest form."""
    if _is_address(text):
        return ipaddress.ip_address(text).compressed
    name = (text if text.isascii() else _punycode(text)).lower().removesuffix(".")
    return name if _NAME.fullmatch(name) and not _looks_like_address(name) else None


def _punycode(name: str) -> str:
    """As browsers do it, which is not the way of Python's own codec; empty where it cannot be done."""
    import httpx  # here, as few need it

    try:
        return httpx.URL(f"https://{name}").raw_host.decode()
    except httpx.InvalidURL:
        return ""


def _looks_like_address(name: str) -> bool:
    """Such as 10.0.0: no top-level domain is a number."""
    return name.rpartition(".")[2].isdigit()


def _is_address(text: str) -> bool:
    if "%" in text:  # a zone, which is another one for each machine
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    return ":" in text and _is_address(text)
