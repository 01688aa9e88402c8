"""Where the keys come from that tokens are verified with: a secret, a file, a URL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import httpx

from organism.access.public_keys import MAX_BYTES, PublicKey, parse_keys
from organism.errors import OrganismUnreachable

FETCH_TIMEOUT_S = 5.0

REFRESH_S = 300.0
"""A key that its issuer has withdrawn counts for so long."""

RETRY_S = 30.0
"""Between two looks for a key that is not known, or for a set that was not to be had."""

FIRST_RETRY_S = 1.0
KEEP_S = 24 * 3600.0
"""How long the last set is in use while there is no newer one."""

logger = logging.getLogger(__name__)


class KeySource(Protocol):
    async def find(self, kid: str | None, algorithm: str) -> Any | None:
        """Raises: OrganismUnreachable, where no keys are to be had."""
        ...


class Secret:
    """The one key of HS256."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    async def find(self, kid: str | None, algorithm: str) -> bytes | None:
        return self._secret if algorithm == "HS256" else None


class KeyFile:
    """Read again when it has changed; what cannot be read leaves the keys as they were."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._keys: list[PublicKey] = []
        self._complaint = ""

    async def find(self, kid: str | None, algorithm: str) -> Any | None:
        await asyncio.to_thread(self._read_if_changed)
        if not self._keys:
            raise OrganismUnreachable(f"the keys of auth.jwt.jwks_file cannot be read: {self._complaint}")
        return _fitting(self._keys, kid, algorithm)

    def _read_if_changed(self) -> None:
        try:
            status = self._path.stat()
            if self._read_at == (status.st_mtime_ns, status.st_size):
                return
            self._keys = parse_keys(self._path.read_bytes()[:MAX_BYTES])
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:
                logger.warning("auth.jwt.jwks_file cannot be read: %s", error)
            self._complaint = str(error)
        else:
            self._read_at, self._complaint = (status.st_mtime_ns, status.st_size), ""


class KeyUrl:
    """clock: in seconds. fetch: gets what is at the URL; raises httpx.HTTPError, ValueError."""

    def __init__(
        self, url: str, clock: Callable[[], float], fetch: Callable[[str], Awaitable[bytes]] | None = None
    ) -> None:
        self._url = url
        self._clock = clock
        self._fetch = fetch or fetch_keys
        self._fetching = asyncio.Lock()
        self._keys: list[PublicKey] = []
        self._fetched_at = self._tried_at = float("-inf")

    async def find(self, kid: str | None, algorithm: str) -> Any | None:
        if self._age_s() > REFRESH_S:
            await self._fetch_again()
        if not self._keys or self._age_s() > KEEP_S:
            raise OrganismUnreachable("the keys of auth.jwt.jwks_url cannot be had")
        found = _fitting(self._keys, kid, algorithm)
        if found is None:
            await self._fetch_again()
            found = _fitting(self._keys, kid, algorithm)
        return found

    def _age_s(self) -> float:
        return self._clock() - self._fetched_at

    async def _fetch_again(self) -> None:
        """Not too often; whoever comes meanwhile waits for the same answer."""
        async with self._fetching:
            if self._clock() - self._tried_at < (RETRY_S if self._keys else FIRST_RETRY_S):
                return
            try:
                self._keys = parse_keys(await self._fetch(self._url))
                self._fetched_at = self._clock()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
                logger.warning("auth.jwt.jwks_url cannot be read: %s", error or type(error).__name__)
            self._tried_at = self._clock()


async def fetch_keys(url: str) -> bytes:
    """Raises: httpx.HTTPError; ValueError, for what is no answer or too long."""
    async with (
        asyncio.timeout(FETCH_TIMEOUT_S),  # of the whole, however slowly it trickles
        httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, trust_env=url.startswith("https:")) as client,
        client.stream("GET", url, headers={"accept": "application/json"}) as response,
    ):
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
        return bytes(content)


def _fitting(keys: list[PublicKey], kid: str | None, algorithm: str) -> Any | None:
    """A token that names no key is verified only where there is but one that it can mean."""
    found = [each.key for each in keys if each.algorithm == algorithm and (kid is None or each.kid == kid)]
    return found[0] if len(found) == 1 else None
