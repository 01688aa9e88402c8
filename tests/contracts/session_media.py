"""The media of session storage, for tests: each can be opened again and again, and one event of it be damaged."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Protocol

from organism.storage.sessions.base import SessionStorage
from organism.storage.sessions.file import FileSessionStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.storage.sessions.postgres import PostgresSessionStorage
from organism.storage.sessions.sqlite import SqliteSessionStorage
from tests.postgres_server import PostgresServer


class SessionMedium(Protocol):
    """Where one store is. `damage_*` are called while it is closed."""

    def storage(self) -> SessionStorage:
        """A new provider over the same medium, not open."""
        ...

    def damage_event(self, session_id: str, seq: int) -> None: ...

    def damage_record(self, session_id: str) -> None: ...


class MemoryMedium:
    """Outlives `close`, and cannot be damaged."""

    def __init__(self, folder: Path) -> None:
        self._storage = MemorySessionStorage()

    def storage(self) -> SessionStorage:
        return self._storage


class FileMedium:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sessions"

    def storage(self) -> SessionStorage:
        return FileSessionStorage(self.folder)

    def damage_event(self, session_id: str, seq: int) -> None:
        self._replace(session_id, rb'("seq":%d,"type":[^\n]*)\}\n' % seq, rb"\1]\n")

    def damage_record(self, session_id: str) -> None:
        self._replace(session_id, rb'\{"record":\{', rb'{"record":[')

    def _replace(self, session_id: str, pattern: bytes, replacement: bytes) -> None:
        file = self.folder / f"{session_id}.jsonl"
        content, count = re.subn(pattern, replacement, file.read_bytes())
        assert count
        file.write_bytes(content)


class SqliteMedium:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "sessions.db"

    def storage(self) -> SessionStorage:
        return SqliteSessionStorage(self.path)

    def damage_event(self, session_id: str, seq: int) -> None:
        self._change("UPDATE events SET body = substr(body, 5) WHERE session_id = ? AND seq = ?", session_id, seq)

    def damage_record(self, session_id: str) -> None:
        self._change("UPDATE sessions SET record = substr(record, 5) WHERE id = ?", session_id)

    def _change(self, statement: str, *values: str | int) -> None:
        connection = sqlite3.connect(self.path)
        assert connection.execute(statement, values).rowcount == 1
        connection.commit()
        connection.close()


class PostgresMedium:
    """A new database of the server."""

    def __init__(self, server: PostgresServer) -> None:
        self.url = server.new_database()
        self._server = server

    def storage(self) -> SessionStorage:
        return PostgresSessionStorage(self.url)

    def damage_event(self, session_id: str, seq: int) -> None:
        self._change(f"session_events SET body = substr(body, 5) WHERE session_id = '{session_id}' AND seq = {seq}")

    def damage_record(self, session_id: str) -> None:
        self._change(f"sessions SET record = substr(record, 5) WHERE id = '{session_id}'")

    def _change(self, change: str) -> None:
        assert self._server.execute(f"UPDATE organism.{change}", self.url) == "UPDATE 1"
