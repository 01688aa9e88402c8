"""up and down as processes, with a stand-in for the launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from organism.cli.client import read_run_file
from organism.cli.failures import ExitCode
from organism.cli.lifecycle import launcher_command, process_lives
from organism.cli.starter import write_starter

FAKE_LAUNCHER = Path(__file__).parent / "fake_launcher"
COMMAND = [sys.executable, "-c", "from organism.cli import main; main()"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An organism's folder; what was started there is gone after the test."""
    write_starter(tmp_path)
    yield tmp_path
    run_file = read_run_file(tmp_path)
    if run_file and process_lives(run_file.pid):
        os.kill(run_file.pid, signal.SIGKILL)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(FAKE_LAUNCHER)}


def organism(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def test_up_detached_returns_when_it_is_ready_and_down_ends_it(folder: Path) -> None:
    started = organism(folder, "up", "--detach", "--namespace", "mine", "--json")
    assert started.returncode == 0, started.stderr
    facts = json.loads(started.stdout)
    assert facts["namespace"] == "mine"
    assert process_lives(facts["pid"])
    stopped = organism(folder, "down")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout == f"the organism at {facts['url']} is stopped\n"
    assert not process_lives(facts["pid"])
    assert "stopped gracefully" in Path(facts["log"]).read_text()


def test_what_it_keeps_is_for_its_user_alone(folder: Path) -> None:
    assert "warning" not in organism(folder, "up", "--detach").stderr
    assert (folder / ".organism").stat().st_mode & 0o777 == 0o700


def test_up_warns_where_other_users_can_read_what_it_keeps() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # pytest's folders are below one that is closed to others
        folder = Path(place)
        write_starter(folder)
        (folder / ".organism").mkdir()
        for each in (folder, folder / ".organism"):
            each.chmod(0o755)
        started = organism(folder, "up", "--detach")
        assert organism(folder, "down").returncode == 0
        (folder / ".organism").chmod(0o700)
        again = organism(folder, "up", "--detach")
        assert organism(folder, "down").returncode == 0
    lines = [line for line in started.stderr.splitlines() if line.startswith("warning: ")]
    assert [line.partition("; ")[2] for line in lines] == [f"`chmod 700 {folder}/.organism` keeps them out"]
    assert "warning" not in again.stderr


def test_up_warns_where_everybody_gets_through_a_proxy(folder: Path) -> None:
    file = folder / "organism.yaml"
    file.write_text(file.read_text() + "\napi: {allowed_hosts: [organism.example.org]}\n")
    with started(folder, "up") as process:
        wait_until(lambda: read_run_file(folder))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    detached = organism(folder, "up", "--detach")
    assert organism(folder, "down").returncode == 0
    for shown in (errors, detached.stderr):
        assert "names organism.example.org: whoever gets through" in shown
    assert organism(folder, "keys", "add", "boss", "--role", "admin").returncode == 0
    assert "warning" not in organism(folder, "up", "--detach").stderr


def test_a_second_up_in_the_same_folder_is_refused(folder: Path) -> None:
    assert organism(folder, "up", "--detach").returncode == 0
    again = organism(folder, "up")
    assert again.returncode == ExitCode.FAILED
    assert "runs already at http://127.0.0.1:" in again.stderr


def test_a_run_file_of_a_dead_organism_is_no_obstacle(folder: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    facts = {"url": "http://127.0.0.1:9", "pid": int(dead.stdout), "namespace": "x", "dashboard": None}
    (folder / ".organism").mkdir()
    (folder / ".organism" / "run.json").write_text(json.dumps(facts))
    assert organism(folder, "up", "--detach").returncode == 0


def test_a_start_that_fails_shows_the_end_of_the_log(folder: Path) -> None:
    (folder / "fail").touch()
    result = organism(folder, "up", "--detach")
    assert result.returncode == ExitCode.FAILED
    assert "ended while it started, with exit code 1" in result.stderr
    assert "the storage is in use by another organism" in result.stderr


def test_an_organism_that_does_not_get_ready_is_stopped(folder: Path) -> None:
    (folder / "never-ready").touch()
    result = organism(folder, "up", "--detach", "--timeout-s", "1.5")
    assert result.returncode == ExitCode.FAILED
    assert "was not ready within 1.5 s and was stopped" in result.stderr
    assert "stopped gracefully" in (folder / ".organism" / "server.log").read_text()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_up_in_the_foreground_becomes_the_launcher(folder: Path, stop: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "up", "--port", "0"], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    )
    with process:
        wait_until(lambda: read_run_file(folder))
        run_file = read_run_file(folder)
        assert run_file is not None
        assert run_file.pid == process.pid
        process.send_signal(stop)
        shown, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"arguments ['{folder / 'organism.yaml'}', '--port', '0']" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_a_launcher_that_cannot_take_it_yet(folder: Path, stop: signal.Signals) -> None:
    (folder / "slow").touch()
    with started(folder, "up") as process:
        wait_until((folder / "begun").exists)
        process.send_signal(stop)
        (folder / "slow").unlink()
        shown, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "stopped gracefully" in shown


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_a_signal_while_the_handlers_are_imported_ends_up(
    folder: Path, options: tuple[str, ...], stop: signal.Signals
) -> None:
    handlers = folder / "handlers.py"
    handlers.write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)\n" + handlers.read_text())
    with started(folder, "up", *options) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(stop)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "interrupted; nothing has been started\n")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_detached_start_is_waited_for_ends_what_was_started(
    folder: Path, stop: signal.Signals
) -> None:
    (folder / "never-ready").touch()
    log = folder / ".organism" / "server.log"
    with started(folder, "up", "--detach") as process:
        wait_until(lambda: log.exists() and "arguments" in log.read_text())
        process.send_signal(stop)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.endswith("interrupted; what has been started is ended\n")
    assert "stopped gracefully" in log.read_text()


def started(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *args], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_foreground_run_is_told_of_json(folder: Path) -> None:
    with started(folder, "up", "--json", "--port", "0") as process:
        wait_until(lambda: read_run_file(folder))
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=20)
    assert f"arguments ['{folder / 'organism.yaml'}', '--port', '0', '--json']" in shown


def test_ctrl_c_ends_tail_without_a_traceback(folder: Path) -> None:
    waiting = [*COMMAND[:2], "import time; from organism.cli import main, client\n"
               "client.Api.last_seq = lambda self: print('here', flush=True) or time.sleep(60)\nmain()"]  # fmt: skip
    process = subprocess.Popen(
        [*waiting, "tail"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == ""


def test_only_what_was_given_is_handed_to_the_launcher(tmp_path: Path) -> None:
    file = tmp_path / "organism.yaml"
    module = [sys.executable, "-P", "-m", "serve_app", str(file)]
    assert launcher_command(file, None, None, None, None) == module
    options = ["--host", "0.0.0.0", "--port", "0", "--address", "auto", "--namespace", "mine"]
    assert launcher_command(file, "0.0.0.0", 0, "auto", "mine") == [*module, *options]
    assert launcher_command(file, None, None, None, None, True, True) == [*module, "--tls-self-signed", "--json"]


def test_a_process_that_nobody_has_collected_does_not_live() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        wait_until(lambda: not process_lives(process.pid))
    assert process_lives(os.getpid())
