from __future__ import annotations

from pathlib import Path

import pytest

from organism.config import StorageSection
from organism.errors import ConfigError
from organism.storage.access.memory import MemoryAccessStorage
from organism.storage.access.sqlite import SqliteAccessStorage
from organism.storage.memory import MemoryStorage
from organism.storage.opening import open_access_storage, open_session_storage, open_storage
from organism.storage.sessions.file import FileSessionStorage
from organism.storage.sessions.memory import MemorySessionStorage
from organism.storage.sessions.sqlite import SqliteSessionStorage
from organism.storage.sqlite import SqliteStorage


def test_sessions_lie_beside_the_log(tmp_path: Path) -> None:
    section = StorageSection()
    log, sessions = open_storage(section, tmp_path), open_session_storage(section, tmp_path)
    assert isinstance(log, SqliteStorage)
    assert isinstance(sessions, SqliteSessionStorage)
    assert log.path == tmp_path / ".organism" / "organism.db"
    assert sessions.path == tmp_path / ".organism" / "sessions.db"


def test_with_file_the_log_stays_in_sqlite(tmp_path: Path) -> None:
    section = StorageSection(provider="file", path="data/log.db")
    log, sessions = open_storage(section, tmp_path), open_session_storage(section, tmp_path)
    assert isinstance(log, SqliteStorage)
    assert isinstance(sessions, FileSessionStorage)
    assert (log.path, sessions.folder) == (tmp_path / "data" / "log.db", tmp_path / "data" / "sessions")


def test_memory_makes_no_files(tmp_path: Path) -> None:
    section = StorageSection(provider="memory")
    assert isinstance(open_storage(section, tmp_path), MemoryStorage)
    assert isinstance(open_session_storage(section, tmp_path), MemorySessionStorage)
    assert isinstance(open_access_storage(section, tmp_path), MemoryAccessStorage)


@pytest.mark.parametrize("provider", ["sqlite", "file"])
def test_keys_and_audit_lie_beside_the_log(tmp_path: Path, provider: str) -> None:
    section = StorageSection.model_validate({"provider": provider, "path": "data/log.db"})
    access = open_access_storage(section, tmp_path)
    assert isinstance(access, SqliteAccessStorage)
    assert access.path == tmp_path / "data" / "access.db"


def test_a_log_where_the_keys_would_be_is_refused(tmp_path: Path) -> None:
    section = StorageSection(path="data/access.db")
    with pytest.raises(ConfigError, match=r"where keys and audit log are kept.*Give the log another name"):
        open_access_storage(section, tmp_path)


@pytest.mark.parametrize(("provider", "name"), [("sqlite", "sessions.db"), ("file", "sessions")])
def test_a_log_where_the_sessions_would_be_is_refused(tmp_path: Path, provider: str, name: str) -> None:
    section = StorageSection.model_validate({"provider": provider, "path": f"data/{name}"})
    with pytest.raises(ConfigError, match=r"storage\.path: .*Give the log another name"):
        open_session_storage(section, tmp_path)


@pytest.mark.parametrize("environ", [None, {}, {"MY_DATABASE": ""}])
def test_a_missing_variable_with_the_url_is_reported(tmp_path: Path, environ: dict[str, str] | None) -> None:
    section = StorageSection(provider="postgres", url_env="MY_DATABASE")
    for opener in (open_storage, open_session_storage, open_access_storage):
        with pytest.raises(ConfigError, match=r"organism\.yaml: storage\.url_env: .* MY_DATABASE, which is not set"):
            opener(section, tmp_path, environ)
