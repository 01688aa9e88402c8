"""organism keys, on the storage of a folder."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import ApiKey, parse_key
from organism.access.principal import Bounds, Role
from organism.cli import build_app
from organism.cli.failures import ExitCode, WrongUse
from organism.cli.key_options import moment_ms
from organism.config import StorageSection
from organism.storage.opening import open_access_storage

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an organism.yaml."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "{}")
    return tmp_path


def write(folder: Path, storage: str, more: str = "") -> None:
    (folder / "organism.yaml").write_text(f"organism:\n  name: guarded\nstorage: {storage}\n{more}")


def keys(*args: str) -> Result:
    return CliRunner().invoke(build_app(), ["keys", *args])


def stored(folder: Path) -> tuple[list[ApiKey], list[AuditRecord]]:
    async def read() -> tuple[list[ApiKey], list[AuditRecord]]:
        storage = open_access_storage(StorageSection(), folder)
        await storage.open()
        try:
            return await storage.keys(), await storage.audit(AuditFilter(), 100)
        finally:
            await storage.close()

    return asyncio.run(read())


def test_on_stdout_is_the_key_alone(folder: Path) -> None:
    result = keys("add", "ci", "--role", "operator")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    id_and_secret = parse_key(result.stdout.strip())
    assert id_and_secret is not None
    (key,), _ = stored(folder)
    assert (key.id, key.name, key.role, key.bounds, key.expires_at) == (id_and_secret[0], "ci", 2, None, None)
    assert key.fits(id_and_secret[1])


def test_the_first_key_says_that_authentication_begins_and_does_not_show_itself_there() -> None:
    first, second = keys("add", "one", "--role", "admin"), keys("add", "two", "--role", "viewer")
    assert "from now on nobody gets in without a key" in first.stderr
    assert "ORGANISM_API_KEY" in first.stderr
    assert first.stdout.strip() not in first.stderr
    assert "from now on" not in second.stderr


def test_where_authentication_is_on_already_the_first_key_does_not_begin_it(folder: Path) -> None:
    write(folder, "{}", "auth: {required: true}\n")
    assert "from now on" not in keys("add", "one", "--role", "admin").stderr


def test_json_holds_the_key_and_what_is_known_of_it(folder: Path) -> None:
    result = keys("add", "ci", "--role", "viewer", "--agents", "a, b", "--sessions", "*", "--expires", "30d", "--json")
    shown = json.loads(result.stdout)
    assert (shown["name"], shown["role"], shown["state"]) == ("ci", "viewer", "usable")
    assert shown["bounds"] == {"agents": ["a", "b"], "libraries": [], "sessions": ["*"]}
    assert parse_key(shown["key"]) is not None
    (key,), _ = stored(folder)
    assert key.bounds == Bounds(frozenset("ab"), frozenset(), frozenset("*"))
    assert key.expires_at is not None
    assert abs(key.expires_at - key.created_at - 30 * 86_400_000) < 60_000
    assert (key.salt.hex() in result.output, key.hash.hex() in result.output) == (False, False)


def test_agents_that_are_not_there_are_told() -> None:
    assert "has no agent nobody" in keys("add", "ci", "--role", "viewer", "--agents", "nobody,*").stderr


def test_the_list_shows_neither_keys_nor_hashes(folder: Path) -> None:
    text = keys("add", "ci", "--role", "operator", "--agents", "greeter", "--expires", "2099-01-01").stdout.strip()
    for shown in (keys("list"), keys("list", "--json")):
        assert shown.exit_code == 0
        assert "ci" in shown.stdout
        assert "operator" in shown.stdout
        assert "2099-01-01" in shown.stdout
        assert text not in shown.output
        assert "hash" not in shown.output
        assert "salt" not in shown.output
    listed = json.loads(keys("list", "--json").stdout)
    assert (listed["count"], listed["keys"][0]["last_used_at"]) == (1, None)


def test_a_revoked_key_stays_listed_and_its_name_is_free(folder: Path) -> None:
    keys("add", "ci", "--role", "viewer")
    revoked = keys("revoke", "ci")
    assert (revoked.exit_code, revoked.stdout) == (0, "the key ci is revoked\n")
    assert "authentication stays on" in revoked.stderr
    assert keys("add", "ci", "--role", "viewer").exit_code == 0
    states = [each["state"] for each in json.loads(keys("list", "--json").stdout)["keys"]]
    assert states == ["revoked", "usable"]


def test_a_key_is_revoked_by_its_id_too() -> None:
    key_id = json.loads(keys("add", "ci", "--role", "viewer", "--json").stdout)["id"]
    assert json.loads(keys("revoke", key_id, "--json").stdout)["state"] == "revoked"


def test_each_change_and_each_refusal_is_in_the_audit_log(folder: Path) -> None:
    keys("add", "ci", "--role", "viewer", "--libraries", "docs")
    keys("add", "ci", "--role", "admin")
    keys("revoke", "ci")
    keys("revoke", "ci")
    _, records = stored(folder)
    who = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    assert [(each.who, each.action, each.target, each.address, each.outcome) for each in reversed(records)] == [
        (who, "key.add", "ci", "local", "ok"),
        (who, "key.add", "ci", "local", "refused"),
        (who, "key.revoke", "ci", "local", "ok"),
        (who, "key.revoke", "ci", "local", "refused"),
    ]
    assert records[-1].detail == "role viewer; bound to libraries docs"


def test_a_name_in_use_is_refused() -> None:
    keys("add", "ci", "--role", "viewer")
    again = keys("add", "ci", "--role", "viewer", "--json")
    assert (again.exit_code, json.loads(again.stdout)["error"]["code"]) == (ExitCode.REFUSED, "key_exists")


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["ci"], "--role"),
        (["ci", "--role", "root"], "--role"),
        (["c i", "--role", "viewer"], "NAME"),
        (["ci", "--role", "viewer", "--agents", "a,,b"], "--agents"),
        (["ci", "--role", "viewer", "--sessions", ""], "--sessions"),
        (["ci", "--role", "viewer", "--expires", "soon"], "--expires"),
        (["ci", "--role", "viewer", "--expires", "2020-01-01"], "--expires"),
    ],
)
def test_bad_input_names_the_option_and_makes_no_key(folder: Path, args: list[str], named: str) -> None:
    result = keys("add", *args)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert named in result.stderr
    assert stored(folder)[0] == []


def test_memory_would_lose_the_key(folder: Path) -> None:
    write(folder, "{provider: memory}")
    result = keys("add", "ci", "--role", "viewer")
    assert result.exit_code == ExitCode.USAGE
    assert "set storage.provider to sqlite" in result.stderr


def test_the_env_file_is_read_as_up_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORGANISM_TEST_DB", raising=False)
    write(folder, "{provider: postgres, url_env: ORGANISM_TEST_DB}")
    assert "ORGANISM_TEST_DB, which is not set" in keys("list").stderr
    (folder / ".env").write_text("ORGANISM_TEST_DB=postgresql://127.0.0.1:9/none\n")
    assert "which is not set" not in keys("list").stderr


def test_another_folder_is_named_by_file(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    write(other, "{}")
    assert keys("add", "ci", "--role", "viewer", "--file", "other").exit_code == 0
    assert len(stored(other)[0]) == 1


def test_without_an_organism_here_the_file_is_missed(folder: Path) -> None:
    (folder / "organism.yaml").unlink()
    result = keys("list")
    assert result.exit_code == ExitCode.INVALID
    assert "organism.yaml" in result.stderr


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", datetime(2026, 7, 1, 12, tzinfo=UTC)),
        ("12h", datetime(2026, 6, 2, 0, tzinfo=UTC)),
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T10:00:00+02:00", datetime(2027, 1, 1, 8, tzinfo=UTC)),
    ],
)
def test_when_a_key_ends(text: str, moment: datetime) -> None:
    assert moment_ms(text, NOW) == moment.timestamp() * 1000


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1.5h", "99999999999d", "30", "d", "2026-06-01", "2027-13-01"])
def test_what_is_no_end_of_a_key(text: str) -> None:
    with pytest.raises(WrongUse, match="--expires"):
        moment_ms(text, NOW)


def test_the_roles_are_those_there_are() -> None:
    shown: Any = keys("add", "--help").stdout
    assert all(role.label in shown for role in Role)
