"""The tables of a store in a PostgreSQL database: made when they are missing, and brought up to date."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from organism.errors import StorageVersionError

LOCK_CLASS = 0x4F52474D
"""First key of all advisory locks of this package; the second is the store's, or 0 while tables are made."""


async def bring_up_to_date(connection: Any, name: str, package: str, place: str) -> None:
    """Makes the tables of the store `name`, whose migrations lie in `package`.

    Raises:
        StorageVersionError: they were made by a newer version.
    """
    migrations = _migrations(package)
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, 0)")
        await _make_stores(connection)
        insert = "INSERT INTO organism.stores VALUES ($1, 0, '', 0) ON CONFLICT DO NOTHING"
        await connection.execute(insert, name)
        version = await connection.fetchval("SELECT version FROM organism.stores WHERE name = $1", name)
        if version > len(migrations):
            raise StorageVersionError(f"{place} has version {version} of the {name}, known is {len(migrations)}")
        for migration in migrations[version:]:
            await connection.execute(migration)
        await connection.execute("UPDATE organism.stores SET version = $2 WHERE name = $1", name, len(migrations))


async def _make_stores(connection: Any) -> None:
    """IF NOT EXISTS would ask for the permission to create even where nothing is to be created."""
    if not await connection.fetchval("SELECT to_regnamespace('organism') IS NOT NULL"):
        await connection.execute("CREATE SCHEMA organism")
    if not await connection.fetchval("SELECT to_regclass('organism.stores') IS NOT NULL"):
        await connection.execute((files("organism.storage") / "sql" / "postgres_stores.sql").read_text())


def _migrations(package: str) -> list[str]:
    folder = files(package) / "sql"
    found = sorted((entry for entry in folder.iterdir() if entry.name.startswith("postgres_migration_")), key=_name)
    return [entry.read_text(encoding="utf-8") for entry in found]


def _name(entry: Any) -> str:
    return entry.name
