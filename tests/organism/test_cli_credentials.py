"""Commands against an organism that wants a key, and one with a certificate of a private authority."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from cli_certificate import write_certificate
from cli_fake_api import STAMP, FakeOrganism, make_agent, serving
from typer.testing import CliRunner, Result

from organism.cli import build_app
from organism.cli.client import answers, is_ready
from organism.cli.failures import CliFailure, ExitCode
from organism.cli.following import MessagesWanted, follow
from organism.client.credentials import Credentials

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ORGANISM_URL", "ORGANISM_API_KEY", "ORGANISM_API_KEY_FILE", "ORGANISM_CA_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def guarded() -> Iterator[FakeOrganism]:
    with serving(FakeOrganism({"counter": make_agent("counter")}, keys=("secret", "viewer"))) as fake:
        yield fake


@pytest.fixture
def cli(guarded: FakeOrganism) -> Cli:
    def run(*args: str, **environ: str) -> Result:
        return CliRunner().invoke(build_app(), list(args), env={"ORGANISM_URL": guarded.url, **environ})

    return run


def fill(organism: FakeOrganism) -> None:
    organism.add_thread("t")
    organism.add_message("t", "console", "counter")


def test_without_a_key_the_way_to_one_is_told(cli: Cli) -> None:
    result = cli("status")
    assert result.exit_code == ExitCode.REFUSED
    assert "authentication is needed\nset ORGANISM_API_KEY" in result.stderr
    assert "organism keys add" in result.stderr


@pytest.mark.parametrize("command", ["status", "threads", "tail -n 1 --since 0", "audit", "pause counter", "reload"])
def test_the_key_of_the_environment_lets_in(cli: Cli, guarded: FakeOrganism, command: str) -> None:
    fill(guarded)
    guarded.reload_answer = (200, {"added": [], "changed": [], "removed": []})
    result = cli(*command.split(), ORGANISM_API_KEY="secret")
    assert (result.exit_code, result.exception) == (0, None)


@pytest.mark.parametrize("command", ["sessions", "libraries", "chat"])
def test_commands_of_the_client_are_refused_in_the_same_words(cli: Cli, command: str) -> None:
    result = cli(command)
    assert result.exit_code == ExitCode.REFUSED
    assert "set ORGANISM_API_KEY" in result.stderr


def test_the_key_may_lie_in_a_file(cli: Cli, folder: Path) -> None:
    (folder / "key").write_text("secret\n")
    assert cli("status", ORGANISM_API_KEY_FILE="key").exit_code == 0
    missing = cli("status", ORGANISM_API_KEY_FILE="none")
    assert missing.exit_code == ExitCode.USAGE
    assert "ORGANISM_API_KEY_FILE (none) cannot be read" in missing.stderr


def test_what_is_no_key_is_not_sent_and_not_shown(cli: Cli) -> None:
    result = cli("status", ORGANISM_API_KEY="org_one\norg_two")
    assert result.exit_code == ExitCode.USAGE
    assert "ORGANISM_API_KEY" in result.stderr
    assert "org_one" not in result.output


def test_the_role_that_is_needed_is_told(cli: Cli) -> None:
    result = cli("pause", "counter", ORGANISM_API_KEY="viewer")
    assert result.exit_code == ExitCode.REFUSED
    assert "needs the role operator" in result.stderr


def test_a_key_that_is_revoked_ends_the_following(guarded: FakeOrganism) -> None:
    async def go() -> None:
        stream = follow(guarded.url, MessagesWanted(), 0, lambda _: None, Credentials("revoked"))
        async with aclosing(stream) as messages:
            await anext(messages)

    with pytest.raises(CliFailure, match="takes this key no more"):
        asyncio.run(go())


def test_how_long_to_wait_is_told(cli: Cli, guarded: FakeOrganism) -> None:
    guarded.add_thread("t")
    guarded.failures = [(429, b'{"error": {"code": "queue_full", "message": "too much"}}')]
    result = cli("thread", "t", "--json", ORGANISM_API_KEY="secret")
    assert json.loads(result.stdout)["error"]["message"] == "too much; try again in 7 s"


def test_the_audit_log_is_shown_with_the_newest_last(cli: Cli, guarded: FakeOrganism) -> None:
    guarded.records = [
        {
            "seq": seq, "at": STAMP, "who": who, "action": "pause", "target": "counter", "address": "127.0.0.1",
            "outcome": "ok", "detail": "",
        }
        for seq, who in ((2, "key:ci"), (1, None))
    ]  # fmt: skip
    shown = cli("audit", "--who", "key:ci", "--since", STAMP, "--limit", "2", ORGANISM_API_KEY="secret")
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert "--before 1" in shown.stderr
    assert "who=key%3Aci&since=2026-01-15T10%3A30%3A00.000Z&limit=2" in guarded.asked[-1][1]
    whole = json.loads(cli("audit", "--json", ORGANISM_API_KEY="secret").stdout)
    assert ([each["seq"] for each in whole["records"]], whole["count"]) == ([1, 2], 2)


# own folder


@pytest.fixture
def launcher(guarded: FakeOrganism, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of this user which looks like the launcher, in the run file of the folder; it ends with the server."""
    code = "import signal; print('up', flush=True); signal.pause()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "-m", "serve_app", "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    write_run_file(folder, guarded.url, process.pid)
    yield process
    process.kill()
    process.communicate()


def write_run_file(folder: Path, url: str, pid: int) -> None:
    (folder / ".organism").mkdir()
    facts = {"url": url, "pid": pid, "namespace": "fake", "dashboard": None}
    (folder / ".organism" / "run.json").write_text(json.dumps(facts))


def test_who_owns_the_folder_stops_the_organism_without_a_key(
    cli: Cli, guarded: FakeOrganism, launcher: subprocess.Popen[str]
) -> None:
    stopped = cli("down", "--timeout-s", "0.5")  # the fake server is not the launcher's, and stays
    assert launcher.wait(10) == -signal.SIGINT
    assert f"process {launcher.pid}, is yours" in stopped.stderr


def test_status_tells_at_least_that_it_runs(cli: Cli, launcher: subprocess.Popen[str]) -> None:
    result = cli("status")
    assert result.exit_code == ExitCode.REFUSED
    assert f"runs (process {launcher.pid})" in result.stderr


def test_an_organism_elsewhere_is_not_stopped_without_a_key(cli: Cli) -> None:
    assert cli("down").exit_code == ExitCode.REFUSED


@pytest.mark.parametrize("pid", [-1, 0, 1, os.getpid()])
def test_a_process_that_is_no_launcher_gets_no_signal(cli: Cli, guarded: FakeOrganism, folder: Path, pid: int) -> None:
    write_run_file(folder, guarded.url, pid)
    result = cli("down")
    assert result.exit_code == ExitCode.REFUSED
    assert "set ORGANISM_API_KEY" in result.stderr


def test_a_folder_from_elsewhere_does_not_get_the_key(folder: Path) -> None:
    write_run_file(folder, "http://organism.example:8000", os.getpid())
    for command in ("status", "sessions"):
        result = CliRunner().invoke(build_app(), [command], env={"ORGANISM_API_KEY": "secret"})
        assert result.exit_code == ExitCode.USAGE
        assert "give --url http://organism.example:8000" in result.stderr


# TLS


@pytest.fixture
def encrypted(folder: Path) -> Iterator[FakeOrganism]:
    with serving(FakeOrganism(keys=("secret",)), write_certificate(folder)) as fake:
        fill(fake)
        yield fake


def test_a_private_authority_is_trusted_where_it_is_named(encrypted: FakeOrganism) -> None:
    environ = {"ORGANISM_URL": encrypted.url, "ORGANISM_API_KEY": "secret", "ORGANISM_CA_FILE": "certificate.pem"}
    for command in (["status"], ["tail", "-n", "1", "--since", "0"]):
        result = CliRunner().invoke(build_app(), command, env=environ)
        assert (result.exit_code, result.exception) == (0, None)


@pytest.mark.parametrize("command", ["status", "sessions"])
def test_a_certificate_that_is_not_trusted_is_told(encrypted: FakeOrganism, command: str) -> None:
    result = CliRunner().invoke(build_app(), [command, "--url", encrypted.url], env={"ORGANISM_API_KEY": "secret"})
    assert result.exit_code == ExitCode.FAILED
    assert "is not trusted" in result.stderr
    assert "ORGANISM_CA_FILE" in result.stderr


@pytest.mark.parametrize("command", ["status", "sessions"])
@pytest.mark.parametrize("file", ["none.pem", "key.pem"])
def test_a_ca_file_that_is_none_is_told(encrypted: FakeOrganism, command: str, file: str) -> None:
    environ = {"ORGANISM_URL": encrypted.url, "ORGANISM_CA_FILE": file}
    result = CliRunner().invoke(build_app(), [command], env=environ)
    assert result.exit_code == ExitCode.USAGE
    assert f"the CA file {file} cannot be used" in result.stderr


def test_whether_it_answers_is_seen_without_trust(encrypted: FakeOrganism) -> None:
    assert answers(encrypted.url)
    assert not is_ready(encrypted.url)  # the fake has no such route
