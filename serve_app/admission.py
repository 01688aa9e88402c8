"""What must hold of authentication before an organism starts: nobody else's machine reaches one that lets all in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from organism.config import OrganismConfig
from organism.messages import now_ms
from organism.storage.stored_keys import stored_keys
from organism.web_names import is_loopback
from serve_app.launch_errors import Unprotected


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
    now = now_ms()
    if not any(key.is_usable(now) for key in await stored_keys(config.storage, file.parent, environ)):
        raise Unprotected(host, config.storage.provider)
