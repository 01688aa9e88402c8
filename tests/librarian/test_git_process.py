import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest

from librarian.config import GitCredential, IngestLimits, SourceRules
from librarian.errors import LibraryStorageError, LimitExceeded, SourceRefused, SourceUnavailable
from librarian.git_problem import git_error, git_problem
from librarian.git_process import GitOutput, base_environment, check_git_can_pin, run_git, source_environment
from librarian.git_url import parse_git_url
from tests.librarian.git_repositories import git

RULES = SourceRules(local=True, credentials=(GitCredential("Example.org", "TOKEN"),))
LIMITS = IngestLimits()
ENVIRON = {
    "PATH": os.environ["PATH"], "TOKEN": "s3cr3t", "HOME": "/home/ada", "GIT_DIR": "/elsewhere",
    "GIT_SSH_COMMAND": "evil",
    "GIT_CONFIG_PARAMETERS": "'core.sshCommand=evil'", "LD_PRELOAD": "evil.so", "https_proxy": "http://proxy:3128",
}  # fmt: skip


def fake_git(folder: Path, script: str) -> dict[str, str]:
    """An environment in which `git` is a Python script."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "git"
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o755)
    return {"PATH": f"{folder}/bin"}


def test_only_what_is_needed_is_inherited(tmp_path: Path):
    environment = source_environment(parse_git_url("https://example.org/a", RULES), (), RULES, ENVIRON, tmp_path)
    assert not {"GIT_DIR", "GIT_SSH_COMMAND", "GIT_CONFIG_PARAMETERS", "LD_PRELOAD", "TOKEN"} & environment.keys()
    assert environment["HOME"] == str(tmp_path)
    assert environment["https_proxy"] == "http://proxy:3128"
    assert environment["GIT_ALLOW_PROTOCOL"] == "https"
    assert (environment["GIT_TERMINAL_PROMPT"], environment["GIT_CONFIG_NOSYSTEM"]) == ("0", "1")


def test_commands_that_only_read_a_copy_may_talk_to_nobody(tmp_path: Path):
    environment = base_environment(ENVIRON, tmp_path)
    assert environment["GIT_ALLOW_PROTOCOL"] == "none"
    assert environment["GIT_CONFIG_GLOBAL"] == os.devnull


def test_addresses_are_pinned_and_credentials_bound_to_their_host(tmp_path: Path):
    url = parse_git_url("https://example.org/a", RULES)
    environment = source_environment(url, ("1.1.1.1", "2606:4700::1"), RULES, ENVIRON, tmp_path)
    assert environment["GIT_CONFIG_COUNT"] == "2"
    assert environment["GIT_CONFIG_VALUE_0"] == "example.org:443:1.1.1.1,[2606:4700::1]"
    assert environment["GIT_CONFIG_KEY_1"] == "http.https://example.org:443/.extraHeader"
    assert "s3cr3t" not in (tmp_path / "gitconfig").read_text()
    other = source_environment(parse_git_url("https://example.com/a", RULES), (), RULES, ENVIRON, tmp_path)
    assert other["GIT_CONFIG_COUNT"] == "0"


def test_git_reads_the_configuration_that_is_written(tmp_path: Path):
    folder = tmp_path / 'a "quoted" \\ folder'
    folder.mkdir()
    source_environment(
        parse_git_url(f"file://{tmp_path}/a%20%22quoted%22%20%5C%20folder", RULES), (), RULES, ENVIRON, tmp_path
    )
    settings = git(tmp_path, "config", "--file", "gitconfig", "--list", "-z").split("\0")
    assert {
        "core.hookspath\n/dev/null", "transfer.fsckobjects\ntrue", "http.followredirects\nfalse",
        "http.lowspeedtime\n20", "credential.helper\n", f"safe.directory\n{folder}",
    } <= set(settings)  # fmt: skip


def test_ssh_asks_nothing_and_connects_to_the_checked_address_only(tmp_path: Path):
    url = parse_git_url("git@example.org:a/b", RULES)
    command = shlex.split(source_environment(url, ("1.1.1.1",), RULES, ENVIRON, tmp_path)["GIT_SSH_COMMAND"])
    assert command[:3] == ["ssh", "-F", os.devnull]
    assert {
        "BatchMode=yes", "StrictHostKeyChecking=yes", "HostName=1.1.1.1", "HostKeyAlias=example.org", "ForwardAgent=no",
    } <= set(command)  # fmt: skip


async def test_what_git_says_is_cut_where_it_says_too_much(tmp_path: Path):
    environment = fake_git(tmp_path, "import sys\nwhile True: sys.stdout.write('x' * 1000)\n")
    output = await run_git([], environment, folder=tmp_path, limits=LIMITS, max_stdout_bytes=5_000)
    assert output.truncated
    assert len(output.stdout) == 5_000


async def test_input_and_output_larger_than_a_pipe_do_not_block(tmp_path: Path):
    environment = fake_git(
        tmp_path, "import sys, shutil\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer, 1000)\n"
    )
    data = os.urandom(3_000_000)
    output = await run_git([], environment, folder=tmp_path, limits=LIMITS, stdin=data)
    assert (output.stdout, output.returncode, output.truncated) == (data, 0, False)


_STARTS_ANOTHER = (
    "import os, pathlib, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path('child.tmp').write_text(str(child.pid))\nos.rename('child.tmp', 'child')\ntime.sleep(600)\n"
)


async def test_cancelling_kills_git_and_all_that_it_started(tmp_path: Path):
    running = asyncio.create_task(run_git([], fake_git(tmp_path, _STARTS_ANOTHER), folder=tmp_path, limits=LIMITS))
    child = await _child(tmp_path)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _gone(child)


async def test_what_the_watcher_raises_kills_git_and_all_that_it_started(tmp_path: Path):
    async def watch() -> None:
        await _child(tmp_path)
        raise LimitExceeded("max_clone_bytes", 1, "too large")

    with pytest.raises(LimitExceeded):
        await run_git([], fake_git(tmp_path, _STARTS_ANOTHER), folder=tmp_path, limits=LIMITS, watch=watch)
    await _gone(await _child(tmp_path))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "fatal: could not read Username for 'https://example.org': terminal prompts disabled",
            "librarian.credentials",
        ),
        ("git@example.org: Permission denied (publickey).", "librarian.credentials for host example.org"),
        ("Host key verification failed.", "ssh-keyscan"),
        ("fatal: repository 'https://example.org/a/' not found", "no such repository"),
        ("fatal: unable to access: The requested URL returned error: 301", "redirects"),
        ("something new", "git failed with status 128: something new"),
    ],
)
def test_what_git_says_becomes_a_sentence_that_tells_what_to_do(said: str, shown: str):
    assert shown in git_problem(parse_git_url("https://example.org/a", RULES), GitOutput(128, b"", said), {})


def test_a_full_disk_is_no_fault_of_the_source():
    output = GitOutput(128, b"", "fatal: write error: No space left on device")
    error = git_error(parse_git_url("https://example.org/a", RULES), output, {"HOME": "/copies"})
    assert isinstance(error, LibraryStorageError)
    assert "disk is full" in str(error)


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_source(tmp_path: Path):
    with pytest.raises(LibraryStorageError):
        source_environment(parse_git_url("https://example.org/a", RULES), (), RULES, ENVIRON, tmp_path / "nowhere")


async def test_a_machine_without_git_is_told_to_install_it(tmp_path: Path):
    with pytest.raises(SourceUnavailable, match="install git"):
        await run_git(["version"], {"PATH": str(tmp_path)}, folder=tmp_path, limits=LIMITS)


async def test_a_git_that_cannot_pin_addresses_reads_nothing_from_the_network(tmp_path: Path):
    url = parse_git_url("https://example.org/a", RULES)
    await check_git_can_pin(url, ENVIRON, tmp_path, LIMITS)
    with pytest.raises(SourceRefused, match="too old"):
        await check_git_can_pin(url, fake_git(tmp_path, "print('git version 2.36.9')\n"), tmp_path, LIMITS)


def test_secrets_are_masked_in_what_git_says(tmp_path: Path):
    url = parse_git_url("https://example.org/a", RULES)
    environment = source_environment(url, (), RULES, ENVIRON, tmp_path)
    secret = environment["GIT_CONFIG_VALUE_0"].rpartition(" ")[2]
    said = f"odd: {secret} Authorization: Basic {secret} at https://ada:pass@example.org/a"
    shown = git_problem(url, GitOutput(1, b"", said), environment)
    assert secret not in shown
    assert "pass" not in shown


async def _child(folder: Path) -> int:
    while True:
        if _is_there(folder / "child"):
            return _number(folder / "child")
        await asyncio.sleep(0.01)


async def _gone(process_id: int) -> None:
    while True:
        if not _is_alive(process_id):
            return
        await asyncio.sleep(0.01)


def _is_there(path: Path) -> bool:
    return path.exists()


def _number(path: Path) -> int:
    return int(path.read_text())


def _is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # nobody may have waited for it yet
