"""The version of a database's schema, and how it is brought up to date."""

from __future__ import annotations

import sqlite3

from organism.errors import StorageVersionError


def migrate(connection: sqlite3.Connection, migrations: list[str]) -> None:
    """Applies the migrations that the database has not seen, each in a transaction of its own.

    `PRAGMA user_version` counts those applied; it is written in the same transaction.

    Raises:
        StorageVersionError: more are applied than there are here.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise StorageVersionError(f"its schema is version {version}, this package knows {len(migrations)}")
    for number, migration in enumerate(migrations[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{migration}\nPRAGMA user_version = {number};\nCOMMIT;")
