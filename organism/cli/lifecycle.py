"""up and down: starting the launcher as a process of its own, and asking for the graceful stop."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from organism.cli import INTERRUPTED
from organism.cli.checking import organism_file, require_valid
from organism.cli.client import RUN_FILE, Api, RefusedByApi, RunFile, answers, is_ready, own_launcher, read_run_file
from organism.cli.exposure import warn_of_open_door
from organism.cli.failures import CliFailure, ConnectionTrouble, ExitCode, NotTrusted
from organism.cli.options import AsJson, Url
from organism.cli.output import Screen
from organism.cli.starting import StartInterrupts
from organism.config_file import CONFIG_NAME
from organism.private_folder import make_private, others_can_enter

_POLL_S = 0.2
_LOG_TAIL_LINES = 30

_ENDED_WITHIN_S = 120.0
"""Longer than a launcher takes at most to end what it has started."""


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)


def up(
    file: Annotated[Path, typer.Argument(metavar="ORGANISM_YAML", help="The file, or its folder.")] = Path(CONFIG_NAME),
    host: Annotated[str | None, typer.Option(help="Address to listen on; api.host of the file otherwise.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port; 0 picks a free one.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Run in the background; log in .organism/server.log.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Join the Ray cluster at this address, e.g. auto, instead of starting one.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Ray namespace; organisms in different ones do not meet.")
    ] = None,
    tls_self_signed: Annotated[
        bool, typer.Option("--tls-self-signed", help="HTTPS for a trial, by a certificate in .organism/tls.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(min=1.0, help="Seconds that --detach waits until it is ready.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Validates organism.yaml and starts the organism, in the foreground unless --detach.

    Ctrl-C stops it gracefully, and ends it while it starts. --json shapes what this command says itself, that it is
    ready or why not, not what the agents of a foreground run print.
    """
    screen = Screen(as_json)
    with StartInterrupts() as interrupts:
        path = organism_file(file)
        config = require_valid(path)
        _refuse_second_start(path.parent)
        _warn_of_readers(screen, path.parent / RUN_FILE.parent)
        warn_of_open_door(screen, config, path.parent, host or config.api.host)
        command = launcher_command(path, host, port, address, namespace, tls_self_signed, as_json and not detach)
        if not detach:
            screen.notice(f"starting {config.organism.name}")
            sys.stdout.flush()
            interrupts.hold()
            os.execv(command[0], command)  # the launcher takes this process over, and Ctrl-C with it
        run_file = _start_detached(screen, config.organism.name, path.parent, command, timeout_s, interrupts)
    _report_start(screen, run_file, path.parent)


def launcher_command(
    path: Path,
    host: str | None,
    port: int | None,
    address: str | None,
    namespace: str | None,
    tls_self_signed: bool = False,
    as_json: bool = False,
) -> list[str]:
    """How the launcher is called. -P: what lies in the current folder must not shadow installed modules."""
    options = {"--host": host, "--port": port, "--address": address, "--namespace": namespace}
    given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
    switches = [name for name, is_on in (("--tls-self-signed", tls_self_signed), ("--json", as_json)) if is_on]
    return [sys.executable, "-P", "-m", "serve_app", str(path), *given, *switches]


def _refuse_second_start(folder: Path) -> None:
    running = read_run_file(folder)
    if running and process_lives(running.pid) and answers(running.url):
        message = (
            f"the organism of {folder} runs already at {running.url}; `organism down --url {running.url}` stops it"
        )
        raise CliFailure(message, code="running_already", details={"url": running.url, "pid": running.pid})


def _warn_of_readers(screen: Screen, kept: Path) -> None:
    """Folders are made for this user alone, but that was not always so."""
    if others_can_enter(kept):
        remedy = f"`chmod 700 {shlex.quote(str(kept))}` keeps them out"
        screen.warning(f"other users of this machine can read what is in {kept}; {remedy}")


def _start_detached(
    screen: Screen, name: str, folder: Path, command: list[str], timeout_s: float, interrupts: StartInterrupts
) -> RunFile:
    log = folder / RUN_FILE.parent / "server.log"
    make_private(log.parent)
    with log.open("wb") as output:
        interrupts.hold()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        interrupts.note_from_here()
    try:
        screen.notice(f"starting {name}, log in {log}")
        with screen.working(f"waiting until {name} is ready"):
            if run_file := _wait_until_ready(process, folder, log, timeout_s, interrupts):
                return run_file
        screen.notice("interrupted; what has been started is ended")
    except BaseException:
        _end(process)
        raise
    _end(process)
    raise typer.Exit(INTERRUPTED)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Who waits for the start no more wants no half-started organism."""
    process.terminate()
    try:
        process.wait(_ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(
    process: subprocess.Popen[bytes], folder: Path, log: Path, timeout_s: float, interrupts: StartInterrupts
) -> RunFile | None:
    """None after a signal."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if interrupts.is_noted:
            return None
        if process.poll() is not None:
            raise _failed_start(log, f"the organism ended while it started, with exit code {process.returncode}")
        run_file = read_run_file(folder)
        if run_file and run_file.pid == process.pid and is_ready(run_file.url):
            return run_file
        time.sleep(_POLL_S)
    raise _failed_start(log, f"the organism was not ready within {timeout_s:g} s and was stopped")


def _failed_start(log: Path, what: str) -> CliFailure:
    last_lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return CliFailure(f"{what}; the end of {log}:", code="start_failed", details=last_lines)


def _report_start(screen: Screen, run_file: RunFile, folder: Path) -> None:
    if screen.as_json:
        facts = {"url": run_file.url, "pid": run_file.pid, "namespace": run_file.namespace}
        log = str(folder / RUN_FILE.parent / "server.log")
        screen.json({**facts, "dashboard": run_file.dashboard, "log": log})
        return
    screen.line(f"API            {run_file.url}/api/v1")
    screen.line(f"documentation  {run_file.url}/docs")
    if run_file.dashboard:
        screen.line(f"Ray dashboard  {run_file.dashboard}")
    screen.line(f"stop it with   organism down --url {run_file.url}")


def down(
    timeout_s: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the stop.")] = 120.0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Stops the organism gracefully: running handlers finish, what waits stays in the log; ends when it is gone.

    Needs the role admin, save in the organism's own folder: who owns that and the process owns the organism.
    """
    screen = Screen(as_json)
    with Api(url) as api:
        pid = _local_pid(api.url)
        with screen.working(f"stopping the organism at {api.url}"):
            _ask_to_stop(api, screen)
            gone = _wait_for(lambda: not answers(api.url) and not (pid and process_lives(pid)), timeout_s)
    if not gone:
        message = f"the organism at {api.url} was told to stop and is not gone after {timeout_s:g} s"
        raise CliFailure(message, ExitCode.TIMED_OUT, "timed_out")
    if as_json:
        screen.json({"url": api.url, "stopped": True})
    else:
        screen.line(f"the organism at {api.url} is stopped")


def _ask_to_stop(api: Api, screen: Screen) -> None:
    try:
        api.get("organism")  # where nothing answers, this says so
        _post_stop(api)
    except (RefusedByApi, NotTrusted) as refusal:
        launcher = own_launcher(api.url) if _is_for_want_of_a_key(refusal) else None
        if launcher is None:
            raise
        screen.notice(f"no key that may stop it; its launcher, process {launcher}, is yours and gets Ctrl-C instead")
        os.kill(launcher, signal.SIGINT)


def _is_for_want_of_a_key(refusal: RefusedByApi | NotTrusted) -> bool:
    """Or of its certificate, without which no key is sent."""
    return isinstance(refusal, NotTrusted) or refusal.status_code in (401, 403)


def _post_stop(api: Api) -> None:
    try:
        api.post("organism", "stop")
    except ConnectionTrouble:
        return  # it may close the connection before the answer is through; the wait that follows decides


def _local_pid(url: str) -> int | None:
    """The launcher's process id, where the run file of this folder is about this organism."""
    run_file = read_run_file(Path.cwd())
    return run_file.pid if run_file and run_file.url == url else None


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def process_lives(pid: int) -> bool:
    """Whether this process runs; a zombie, which nobody has collected yet, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False  # no /proc on this system
    return status.rpartition(")")[2].split()[0] == "Z"
