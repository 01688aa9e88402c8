"""Which repositories may be read: URLs and branch names are checked before git sees them.

Only https and ssh, and file:// or absolute paths where the rules allow local repositories. A host on the network must
have public addresses only, and git is told to connect to exactly the addresses that were checked, so that a name
which resolves differently a moment later (DNS rebinding) gains nothing. Hosts in `private_hosts` were named by the
operator: they may have any address and port.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from librarian.config import SourceRules
from librarian.errors import InvalidRequest, SourceRefused, SourceUnavailable

Scheme = Literal["https", "ssh", "file"]
_DEFAULT_PORTS: dict[str, int] = {"https": 443, "ssh": 22}
_MAX_URL_CHARS = 2_048
_MAX_BRANCH_BYTES = 255

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>[^@:/\[\]]+):(?P<path>(?!/)[^:].*)")
_USERINFO = re.compile(r"(?<=//)[^/]*@")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\]")
_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A URL that git may be given. url: canonical, without credentials; host, port, user: None for file."""

    url: str
    scheme: Scheme
    host: str | None = None
    port: int | None = None
    path: Path | None = None


def without_credentials(git_url: str) -> str:
    """The URL as it may be shown, stored and logged."""
    return _USERINFO.sub("", git_url)[:_MAX_URL_CHARS]


def parse_git_url(git_url: str, rules: SourceRules) -> GitUrl:
    """Raises SourceRefused, or InvalidRequest for what is no URL at all. Looks no name up."""
    if not git_url or len(git_url) > _MAX_URL_CHARS:
        raise InvalidRequest("git_url", f"must have 1 to {_MAX_URL_CHARS} characters")
    if git_url.startswith("/"):
        return _local(git_url, git_url, rules)
    if git_url.startswith("-") or _UNPRINTABLE.search(git_url):
        raise InvalidRequest("git_url", "must not begin with '-' nor hold spaces, control characters or backslashes")
    if "://" not in git_url and "::" not in git_url:
        return _scp_like(git_url, rules)
    return _url(git_url, rules)


def check_branch(branch: str) -> None:
    """The rules of git check-ref-format for a branch. Raises InvalidRequest."""
    parts = branch.split("/")
    if (
        not branch
        or len(branch.encode("utf-8", "replace")) > _MAX_BRANCH_BYTES
        or branch.startswith("-")
        or branch in ("@", "HEAD")
        or branch.endswith(".")
        or _NOT_IN_REFS.search(branch)
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
        or not branch.isprintable()
    ):
        raise InvalidRequest("branch", f"{branch[:100]!r} is no name that a branch can have")


async def public_addresses(url: GitUrl, rules: SourceRules) -> tuple[str, ...]:
    """The addresses that git may connect to, () for any: local repositories, and hosts that may be private.

    Raises SourceRefused where one of the host's addresses is not public, SourceUnavailable where there is none.
    """
    if url.host is None or url.host in _lowered(rules.private_hosts):
        return ()
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceUnavailable(url.url, f"the host {url.host} has no address; check its name") from None
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not is_public(address):
            problem = (
                f"the host {url.host} has the address {address}, which is not public; where that is meant, name the "
                "host in librarian.private_hosts"
            )
            raise SourceRefused(url.url, problem)
    return addresses


def is_public(address: str) -> bool:
    """Not loopback, private, link-local, shared (CGNAT), multicast, reserved, nor an IPv6 wrapping of such."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _url(git_url: str, rules: SourceRules) -> GitUrl:
    shown = without_credentials(git_url)
    try:
        parts = urlsplit(git_url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("git_url", "its host or port cannot be read") from None
    if parts.query or parts.fragment:
        raise InvalidRequest("git_url", "must not have a query or a fragment")
    match parts.scheme:
        case "file":
            if parts.netloc:
                raise InvalidRequest("git_url", "a file URL has three slashes and no host: file:///path/to/repository")
            return _local(unquote(parts.path), shown, rules)
        case "https":
            return _network("https", _host_of(parts, shown, None), port, parts.path, rules)
        case "ssh":
            return _network("ssh", _host_of(parts, shown, parts.username), port, parts.path, rules, parts.username)
        case _:
            raise SourceRefused(shown, "only https:// and ssh:// are read from the network")


def _scp_like(git_url: str, rules: SourceRules) -> GitUrl:
    found = _SCP_LIKE.fullmatch(git_url)
    if found is None:
        problem = "must be https://host/path, ssh://user@host/path, user@host:path, or an absolute path"
        raise InvalidRequest("git_url", problem)
    user, host = found["user"], found["host"].lower()
    _check_host(host, git_url)
    _check_user(user, git_url)
    if found["path"].startswith("-"):
        raise SourceRefused(git_url, "its path must not begin with '-'")
    # Stays as it is: the path is relative to the home on the server, which no ssh:// URL can say everywhere.
    return GitUrl(f"{user}@{host}:{found['path']}" if user else f"{host}:{found['path']}", "ssh", host, 22)


def _network(
    scheme: Literal["https", "ssh"], host: str, port: int | None, path: str, rules: SourceRules, user: str | None = None
) -> GitUrl:
    default = _DEFAULT_PORTS[scheme]
    location = f"[{host}]" if ":" in host else host
    if port not in (None, default):
        location += f":{port}"
    if user:
        location = f"{user}@{location}"
    url = f"{scheme}://{location}{path.rstrip('/')}"
    if not path.strip("/"):
        raise InvalidRequest("git_url", "names a host, but no repository on it")
    if port not in (None, default) and host not in _lowered(rules.private_hosts):
        raise SourceRefused(url, f"only port {default} is allowed, except for hosts in librarian.private_hosts")
    return GitUrl(url, scheme, host, port or default)


def _host_of(parts: SplitResult, shown: str, user: str | None) -> str:
    if "@" in parts.netloc and (user is None or parts.password is not None):
        problem = "must not hold a user or a token; name an environment variable for it in librarian.credentials"
        raise SourceRefused(shown, problem)
    _check_user(user, shown)
    host = parts.hostname or ""
    if ":" not in host:
        _check_host(host, shown)
        return host
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise InvalidRequest("git_url", "its host is no IPv6 address") from None


def _check_host(host: str, shown: str) -> None:
    if not _HOST.fullmatch(host) or ".." in host or len(host) > 253:
        raise SourceRefused(shown, f"{host[:100]!r} is no name that a host can have")


def _check_user(user: str | None, shown: str) -> None:
    if user is not None and not _USER.fullmatch(user):
        raise SourceRefused(shown, "its user has characters that are not allowed")


def _local(path: str, shown: str, rules: SourceRules) -> GitUrl:
    if not rules.local:
        raise SourceRefused(shown, "local repositories are not allowed here; librarian.local_repositories allows them")
    if not path.startswith("/") or "\x00" in path or "\n" in path:
        raise InvalidRequest("git_url", "a local repository needs an absolute path")
    try:
        folder = Path(path).resolve(strict=True)
    except (OSError, RuntimeError):
        raise SourceUnavailable(shown, "there is no such folder") from None
    if not folder.is_dir():
        raise SourceUnavailable(shown, "it is no folder")
    if folder.name == ".git":
        folder = folder.parent
    return GitUrl(f"file://{quote(str(folder))}", "file", path=folder)


def _lowered(hosts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(host.lower() for host in hosts)
