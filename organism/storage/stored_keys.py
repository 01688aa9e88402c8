"""The keys as they lie in the storage, for who is about to start an organism."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from organism.access.keys import ApiKey
from organism.config import StorageSection
from organism.storage.opening import open_access_storage


async def stored_keys(section: StorageSection, folder: Path, environ: Mapping[str, str]) -> list[ApiKey]:
    """Also the revoked ones; see `open_access_storage`.

    Raises:
        ConfigError: the storage's variable is not set.
        StorageUnavailable, StorageVersionError: the keys cannot be read.
    """
    storage = open_access_storage(section, folder, environ)
    try:
        await storage.open()
        return await storage.keys()
    finally:
        await storage.close()
