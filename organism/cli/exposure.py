"""The warning where something in front of an organism lets everybody through to it, and it asks nobody who he is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from organism.cli.output import Screen
from organism.config import OrganismConfig
from organism.config_file import environment
from organism.errors import ConfigError, StorageError
from organism.storage.stored_keys import stored_keys
from organism.web_names import is_loopback


def warn_of_open_door(screen: Screen, config: OrganismConfig, folder: Path, host: str) -> None:
    """
    Args:
        folder: the organism's.
        host: what the API is to listen on. What is not loopback is not started without authentication anyway.
    """
    names = [each for each in config.api.allowed_hosts if not is_loopback(each)]
    if not names or not is_loopback(host) or _has_authentication(config, folder):
        return
    screen.warning(
        f"there is no authentication, and api.allowed_hosts names {', '.join(names)}: whoever gets through what is in "
        f"front of {host} is admin; {_remedy(config)}"
    )


def _has_authentication(config: OrganismConfig, folder: Path) -> bool:
    """Revoked keys count, as they do when it runs."""
    if config.auth.required or config.auth.jwt is not None:
        return True
    try:
        return bool(asyncio.run(stored_keys(config.storage, folder, environment(folder, os.environ))))
    except (ConfigError, StorageError):
        return True  # nothing will start: the launcher cannot read them either, and says why


def _remedy(config: OrganismConfig) -> str:
    if config.storage.provider == "memory":
        return "storage.provider: memory keeps no keys, so choose another, or give auth.jwt"
    return "`organism keys add NAME --role admin` makes a key, and with it authentication begins"
