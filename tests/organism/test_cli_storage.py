"""organism storage copy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from organism.access.audit import AuditRecord
from organism.access.keys import ApiKey, NewKey, issue
from organism.access.principal import Role
from organism.cli import build_app
from organism.cli.failures import ExitCode
from organism.config import StorageSection
from organism.sessions.records import SessionFilter
from organism.storage.opening import open_access_storage, open_session_storage, open_storage
from tests.contracts.session_samples import session_of
from tests.storage_samples import message, queue_of

SQLITE = StorageSection(path="one/organism.db")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a store in `one`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "")
    asyncio.run(fill(SQLITE, tmp_path))
    return tmp_path


async def fill(section: StorageSection, folder: Path) -> None:
    log, sessions = open_storage(section, folder), open_session_storage(section, folder)
    await log.open()
    await log.commit(queue_of(message(1), message(2)))
    await log.close()
    await sessions.open()
    await sessions.commit(session_of("session", 3))
    await sessions.close()


async def sizes(section: StorageSection, folder: Path) -> tuple[int, int, int]:
    """Messages, sessions, and events of the session."""
    log, sessions = open_storage(section, folder), open_session_storage(section, folder)
    totals = await log.open()
    await log.close()
    await sessions.open()
    counts = (await sessions.sessions(SessionFilter(), 0, 0))[1], len(await sessions.events("session", 0, 10))
    await sessions.close()
    return totals.last_seq, *counts


def run(*args: object) -> Result:
    return CliRunner().invoke(build_app(), ["storage", "copy", *(str(each) for each in args)])


def yaml_in(folder: Path, storage: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "organism.yaml").write_text(f"organism:\n  name: copied\nstorage: {storage}\n")
    return folder / "organism.yaml"


def test_a_store_is_copied_whole(folder: Path) -> None:
    result = run("sqlite:one/organism.db", "file:two/organism.db")
    assert result.exit_code == 0, result.output
    assert "copied 2 messages, 2 waiting messages, 3 session events, 1 session" in result.stdout
    assert asyncio.run(sizes(StorageSection(provider="file", path="two/organism.db"), folder)) == (2, 1, 3)
    assert asyncio.run(sizes(SQLITE, folder)) == (2, 1, 3)


def test_keys_and_audit_log_are_copied_and_never_overwritten(folder: Path) -> None:
    key = asyncio.run(add_key(SQLITE, folder))
    assert "1 key, 1 audit record" in run("sqlite:one/organism.db", "sqlite:two/organism.db").stdout
    assert asyncio.run(keys_of(StorageSection(path="two/organism.db"), folder)) == [key]
    asyncio.run(add_key(StorageSection(path="three/organism.db"), folder))
    result = run("sqlite:one/organism.db", "sqlite:three/organism.db")
    assert result.exit_code == ExitCode.FAILED
    assert "is not empty" in result.output


def test_stores_in_one_folder_have_the_same_keys(folder: Path) -> None:
    key = asyncio.run(add_key(SQLITE, folder))
    result = run("sqlite:one/organism.db", "file:one/other.db")
    assert result.exit_code == 0, result.output
    assert asyncio.run(keys_of(StorageSection(path="one/other.db"), folder)) == [key]


async def add_key(section: StorageSection, folder: Path) -> ApiKey:
    access, key = open_access_storage(section, folder), issue(NewKey("ci", Role.ADMIN), 1).key
    await access.open()
    await access.add_key(key)
    await access.append_audit([AuditRecord(1, "key:ci", "pause", "greeter", "::1", "ok")])
    await access.close()
    return key


async def keys_of(section: StorageSection, folder: Path) -> list[ApiKey]:
    access = open_access_storage(section, folder)
    await access.open()
    keys = await access.keys()
    await access.close()
    return keys


def test_counts_are_json_when_asked_for() -> None:
    result = run("sqlite:one/organism.db", "sqlite:two/organism.db", "--json")
    assert json.loads(result.stdout)["copied"]["events"] == 3


def test_an_organism_yaml_names_its_store(folder: Path) -> None:
    one = yaml_in(folder / "a", "{path: ../one/organism.db}")
    two = yaml_in(folder / "b", "{provider: file}")
    assert run(one, two.parent).exit_code == 0
    assert asyncio.run(sizes(StorageSection(provider="file"), folder / "b")) == (2, 1, 3)


def test_between_providers_that_share_the_file_of_the_log_only_sessions_move(folder: Path) -> None:
    result = run("sqlite:one/organism.db", "file:one/organism.db", "--json")
    assert json.loads(result.stdout) == {"copied": {"events": 3, "sessions": 1}}
    assert asyncio.run(sizes(StorageSection(provider="file", path="one/organism.db"), folder)) == (2, 1, 3)
    again = run("sqlite:one/organism.db", "file:one/organism.db")
    assert "is not empty" in again.stderr


def test_nothing_is_overwritten(folder: Path) -> None:
    assert run("sqlite:one/organism.db", "sqlite:two/organism.db").exit_code == 0
    result = run("sqlite:one/organism.db", "sqlite:two/organism.db", "--json")
    assert result.exit_code == ExitCode.FAILED
    assert json.loads(result.stdout)["error"]["code"] == "not_empty"
    assert asyncio.run(sizes(StorageSection(path="two/organism.db"), folder)) == (2, 1, 3)


def test_a_store_in_use_is_not_copied(folder: Path) -> None:
    async def copy_while_open() -> Result:
        log = open_storage(SQLITE, folder)
        await log.open()
        try:
            return await asyncio.to_thread(run, "sqlite:one/organism.db", "sqlite:two/organism.db")
        finally:
            await log.close()

    result = asyncio.run(copy_while_open())
    assert result.exit_code == ExitCode.FAILED
    assert "is in use by another organism; stop that one" in result.stderr


@pytest.mark.parametrize(
    ("source", "target", "exit_code", "text"),
    [
        ("sqlite:one/organism.db", "sqlite:one/../one/organism.db", ExitCode.USAGE, "are the same store"),
        ("sqlite:none.db", "sqlite:two.db", ExitCode.FAILED, "there is no file"),
        ("memory:", "sqlite:two.db", ExitCode.USAGE, "memory holds nothing"),
        ("sqlite:one/organism.db", "memory", ExitCode.USAGE, "memory holds nothing"),
        ("postgres:DATABASE_URL", "sqlite:two.db", ExitCode.USAGE, "DATABASE_URL is not set"),
        ("postgres:postgresql://me:secret@host/db", "sqlite:two.db", ExitCode.USAGE, "this is the URL itself"),
        ("nowhere.yaml", "sqlite:two.db", ExitCode.INVALID, "does not exist"),
        ("sqlite:one/organism.db", "sqlite:sessions.db", ExitCode.INVALID, "Give the log another name"),
    ],
)
def test_what_cannot_be_copied_is_said_in_a_sentence(
    folder: Path, source: str, target: str, exit_code: ExitCode, text: str
) -> None:
    result = run(source, target)
    assert (result.exit_code, text in result.stderr) == (exit_code, True), result.output
    assert "secret" not in result.output
    assert not (folder / "none.db").exists()


def test_memory_in_an_organism_yaml_is_refused(folder: Path) -> None:
    result = run(yaml_in(folder / "a", "{provider: memory}"), "sqlite:two.db")
    assert (result.exit_code, "keeps everything in memory" in result.stderr) == (ExitCode.USAGE, True)


def test_a_missing_variable_of_an_organism_yaml_is_said(folder: Path) -> None:
    result = run("sqlite:one/organism.db", yaml_in(folder / "a", "{provider: postgres}"))
    assert (result.exit_code, "DATABASE_URL, which is not set" in result.stderr) == (ExitCode.INVALID, True)
