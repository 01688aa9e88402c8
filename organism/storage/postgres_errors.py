"""What PostgreSQL's errors mean for a store, in texts that never show a password."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg

from organism.errors import StorageError, StorageUnavailable

_PASSING_CLASSES = ("08", "25", "28", "3D", "40", "42501", "53", "55", "57", "58")
"""SQLSTATEs, by their beginning, of what an operator or time can cure: connection, read-only, login, database missing,
conflict, permission, resources, locks, shutdown, disk."""


HIDDEN = "postgresql://***"
"""What is shown of something else than a URL, which may be a password all the same."""


def masked(url: str) -> str:
    """The URL as it may be shown: without password and options."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres"):
            return HIDDEN
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    return f"postgresql://{user}{parts.hostname or ''}{port}{parts.path}"


def is_connection_lost(error: BaseException) -> bool:
    """Whether what was asked may have been done all the same: there will be no answer."""
    if isinstance(error, asyncpg.PostgresError):
        return _sqlstate(error).startswith(("08", "57P"))
    return not isinstance(error, asyncpg.DataError)


def storage_error(error: Exception, url: str) -> StorageError:
    """The error to raise in the place of one of asyncpg or of the system."""
    place = masked(url)
    match error:
        case StorageError():
            return error
        case asyncpg.PostgresError():
            kind = StorageUnavailable if _sqlstate(error).startswith(_PASSING_CLASSES) else StorageError
            return kind(f"{place}: {error.args[0] if error.args else type(error).__name__}")
        case TimeoutError():
            return StorageUnavailable(f"{place}: no answer in time")
        case OSError():
            return StorageUnavailable(f"{place}: cannot be reached ({error.strerror or type(error).__name__})")
        case asyncpg.DataError():
            return StorageError(f"{place}: a value cannot be stored")
        case asyncpg.ClientConfigurationError() | ValueError():  # its text may quote the URL
            return StorageError(f"{place}: this is no URL of a PostgreSQL database (postgresql://user@host/database)")
        case _:
            return StorageUnavailable(f"{place}: the connection was lost ({type(error).__name__})")


def _sqlstate(error: asyncpg.PostgresError) -> str:
    return getattr(error, "sqlstate", None) or ""
