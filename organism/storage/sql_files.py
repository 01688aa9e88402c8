"""The SQL of a provider, read from its files: named statements and numbered migrations.

They lie in the folder `sql` of a package: organism.storage for the log, organism.storage.sessions for sessions.
"""

from __future__ import annotations

from importlib.resources import files

_NAME = "-- name: "
LOG_PACKAGE = "organism.storage"


def load_statements(file_name: str, package: str = LOG_PACKAGE) -> dict[str, str]:
    """The statements of sql/<file_name> by name; each follows a line `-- name: <name>`."""
    _, *sections = _read(file_name, package).split(_NAME)
    named = (section.partition("\n") for section in sections)
    return {name.strip(): text.strip() for name, _, text in named}


def load_migrations(package: str = LOG_PACKAGE) -> list[str]:
    """All migrations in order: the first one makes version 1 of the schema, and so on."""
    folder = files(package) / "sql"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("migration_"))
    return [_read(name, package) for name in names]


def _read(file_name: str, package: str) -> str:
    return (files(package) / "sql" / file_name).read_text(encoding="utf-8")
