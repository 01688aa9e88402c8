"""What must hold of authentication before an organism starts: nobody else's machine reaches one that lets all in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from organism.config import OrganismConfig
from organism.messages import now_ms
from organism.storage.opening import open_access_storage
from serve_app.launch_errors import Unprotected
from serve_app.ports import is_loopback


async def require_admission(config: OrganismConfig, file: Path, host: str, environ: Mapping[str, str]) -> None:
    """Checks that who reaches `host` from elsewhere needs credentials that somebody has.

    Args:
        file: organism.yaml.
        host: what the API is to listen on.

    Raises:
        Unprotected: the address is not loopback, and there is neither a key nor auth.jwt.
        StorageUnavailable, StorageVersionError: the keys cannot be read.
    """
    if is_loopback(host) or config.auth.jwt is not None:
        return
    if not await _has_key(config, file.parent, environ):
        raise Unprotected(host, config.storage.provider)


async def _has_key(config: OrganismConfig, folder: Path, environ: Mapping[str, str]) -> bool:
    storage = open_access_storage(config.storage, folder, environ)
    try:
        await storage.open()
        now = now_ms()
        return any(key.is_usable(now) for key in await storage.keys())
    finally:
        await storage.close()
