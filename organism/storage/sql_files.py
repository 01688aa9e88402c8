"""The SQL of a provider, read from its files: named statements and numbered migrations."""

from __future__ import annotations

from importlib.resources import files

_NAME = "-- name: "
_PACKAGE = "organism.storage"


def load_statements(file_name: str) -> dict[str, str]:
    """The statements of organism/storage/sql/<file_name> by name; each follows a line `-- name: <name>`."""
    _, *sections = _read(file_name).split(_NAME)
    named = (section.partition("\n") for section in sections)
    return {name.strip(): text.strip() for name, _, text in named}


def load_migrations() -> list[str]:
    """All migrations in order: the first one makes version 1 of the schema, and so on."""
    folder = files(_PACKAGE) / "sql"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("migration_"))
    return [_read(name) for name in names]


def _read(file_name: str) -> str:
    return (files(_PACKAGE) / "sql" / file_name).read_text(encoding="utf-8")
