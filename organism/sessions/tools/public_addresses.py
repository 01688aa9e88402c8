"""Which hosts and addresses a model may reach: named ones only, and nothing inside the operator's network."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CARRIES_IPV4 = tuple(
    ipaddress.ip_network(each)
    for each in (
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
    )
)
"""IPv6 forms that lead to an IPv4 address: compatible, mapped, translated, NAT64, Teredo, 6to4."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The entries of allow_hosts: `example.org`, `*.example.org` for those below it, `host:port` for another port.

    An address is allowed only as itself (`127.0.0.1:8080`): then it may be a private one, too.
    """

    entries: tuple[str, ...]

    def why_not(self, scheme: str, host: str, port: int | None) -> str | None:
        """Why this host (lower case) may not be asked; None when it may. What it resolves to is looked at later."""
        if scheme not in _DEFAULT_PORTS:
            return "only http and https can be fetched"
        if literal(host) is None and not _is_name(host):
            return "the host is no plain name or address"
        actual = port or _DEFAULT_PORTS[scheme]
        if any(self._allows(entry.lower(), host, actual, _DEFAULT_PORTS[scheme]) for entry in self.entries):
            return None
        return f"host {host[:200]!r} is not allowed; allowed are: {', '.join(self.entries)}"

    def _allows(self, entry: str, host: str, port: int, default_port: int) -> bool:
        name, wanted_port = _split(entry)
        if port != (wanted_port or default_port):
            return False
        if name.startswith("*."):
            return literal(host) is None and host.endswith(name[1:]) and host != name[1:]
        return host == name


def literal(host: str) -> Address | None:
    """The address that `host` spells out, in its usual form; None for names and for odd forms (octal, hexadecimal,
    short ones), which are no names either."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if getattr(address, "scope_id", None) else address


def is_public(address: Address) -> bool:
    """Whether it is somewhere in the internet, and in no way inside (private, loopback, link-local, shared, …)."""
    if isinstance(address, IPv6Address) and (
        address not in _GLOBAL_UNICAST or any(address in network for network in _CARRIES_IPV4)
    ):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _is_name(host: str) -> bool:
    """ASCII only, no dot at the end, and no number as its last part: some resolvers read that as an address."""
    return len(host) <= 253 and bool(_NAME.fullmatch(host)) and not _NUMBER.fullmatch(host.rpartition(".")[2])


def _split(entry: str) -> tuple[str, int | None]:
    """`host`, `host:port`, an IPv6 address, or `[address]:port`."""
    if literal(entry) is not None:
        return entry, None
    name, _, port = entry.rpartition(":")
    if name and port.isdecimal():
        return name.strip("[]"), int(port)
    return entry.strip("[]"), None
