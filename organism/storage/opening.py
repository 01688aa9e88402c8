"""The provider that the configuration names, for the log and for the sessions, not opened yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from organism.config import StorageSection
from organism.errors import ConfigError
from organism.storage.access.base import AccessStorage
from organism.storage.access.memory import MemoryAccessStorage
from organism.storage.access.sqlite import SqliteAccessStorage
from organism.storage.base import Storage
from organism.storage.memory import MemoryStorage
from organism.storage.sessions.base import SessionStorage
from organism.storage.sessions.file import FileSessionStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.storage.sessions.sqlite import SqliteSessionStorage
from organism.storage.sqlite import SqliteStorage

SESSIONS_FILE = "sessions.db"
SESSIONS_FOLDER = "sessions"
ACCESS_FILE = "access.db"
"""All lie beside the file of the log."""


def open_storage(section: StorageSection, folder: Path, environ: Mapping[str, str] | None = None) -> Storage:
    """Where the log is kept; paths count from the organism's `folder`, `environ` has the variable `section.url_env`.

    Raises:
        ConfigError: the variable is not set.
    """
    match section.provider:
        case "memory":
            return MemoryStorage()
        case "postgres":
            url = _url(section, folder, environ or {})
            from organism.storage.postgres import PostgresStorage  # its driver is loaded only where it is used

            return PostgresStorage(url)
        case "sqlite" | "file":
            return SqliteStorage(log_file(section, folder))


def open_session_storage(
    section: StorageSection, folder: Path, environ: Mapping[str, str] | None = None
) -> SessionStorage:
    """Where the sessions are kept; see `open_storage`.

    Raises:
        ConfigError: the variable is not set, or the log is where the sessions would be.
    """
    match section.provider:
        case "memory":
            return MemorySessionStorage()
        case "postgres":
            url = _url(section, folder, environ or {})
            from organism.storage.sessions.postgres import PostgresSessionStorage

            return PostgresSessionStorage(url)
        case "file":
            return FileSessionStorage(_beside_log(section, folder, SESSIONS_FOLDER))
        case "sqlite":
            return SqliteSessionStorage(_beside_log(section, folder, SESSIONS_FILE))


def open_access_storage(
    section: StorageSection, folder: Path, environ: Mapping[str, str] | None = None
) -> AccessStorage:
    """Where keys and the audit log are kept; see `open_storage`.

    Raises:
        ConfigError: the variable is not set, or the log is where they would be.
    """
    match section.provider:
        case "memory":
            return MemoryAccessStorage()
        case "postgres":
            url = _url(section, folder, environ or {})
            from organism.storage.access.postgres import PostgresAccessStorage

            return PostgresAccessStorage(url)
        case "sqlite" | "file":
            return SqliteAccessStorage(_beside_log(section, folder, ACCESS_FILE))


def log_file(section: StorageSection, folder: Path) -> Path:
    """The file of the log, for the providers that have one."""
    return folder / section.path


def _beside_log(section: StorageSection, folder: Path, name: str) -> Path:
    log = log_file(section, folder)
    if log.name == name:
        kept = "keys and audit log are" if name == ACCESS_FILE else "the sessions are"
        problem = f"is {section.path!r}, where {kept} kept"
        raise ConfigError(_config(folder), None, "storage.path", problem, "Give the log another name there")
    return log.with_name(name)


def _url(section: StorageSection, folder: Path, environ: Mapping[str, str]) -> str:
    url = environ.get(section.url_env)
    if not url:
        problem = f"names the environment variable {section.url_env}, which is not set"
        remedy = "Set it to a postgresql:// URL, in the environment or in the .env beside organism.yaml"
        raise ConfigError(_config(folder), None, "storage.url_env", problem, remedy)
    return url


def _config(folder: Path) -> str:
    return str(folder / "organism.yaml")
