"""Ctrl-C and SIGTERM while `organism up` starts, at several moments; and what it prints with --json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.up import Up
from tests.ray.launched import MARK, pids_marked, wait_for, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

BEGUN_WITHIN_S = 90.0
ENDED_WITHIN_S = 90.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_organism(tmp_path / "organism")


@contextmanager
def started(folder: Path, *options: str) -> Iterator[Up]:
    up = Up(folder, "--port", "0", *options)
    try:
        yield up
    finally:
        up.end()


MOMENTS: dict[str, tuple[signal.Signals, Callable[[Up], Any]]] = {
    "when Ray is started": (signal.SIGTERM, lambda up: up.pids("gcs_server")),
    "when the API is started": (signal.SIGINT, lambda up: up.pids("ray::ServeReplica")),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_ends_the_start_and_all_that_was_started(folder: Path, moment: str) -> None:
    which, has_come = MOMENTS[moment]
    with started(folder) as up:
        wait_for(lambda: has_come(up), BEGUN_WITHIN_S, moment)
        send = os.killpg if which == signal.SIGINT else os.kill  # a terminal sends Ctrl-C to all that was started in it
        send(up.process.pid, which)
        assert up.process.wait(ENDED_WITHIN_S) == 130
        assert up.pids() == []
        assert up.output.splitlines()[1:] == ["organism: interrupted; what has been started is ended"]
        assert not up.run_file.exists()


def test_a_signal_ends_a_detached_start_and_all_that_was_started(folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("organism")), "up", "--detach", "--port", "0"]
    with started_detached(command, folder) as (process, mark):
        wait_for(lambda: len(pids_marked(mark)) > 2, BEGUN_WITHIN_S, "something is started")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=ENDED_WITHIN_S)
        assert process.returncode == 130
        assert errors.endswith("interrupted; what has been started is ended\n")
        assert pids_marked(mark) == []


@contextmanager
def started_detached(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    mark = folder.parent.name + str(os.getpid())
    environment = {**os.environ, MARK: mark}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, mark
        finally:
            for pid in pids_marked(mark):
                os.kill(pid, signal.SIGKILL)


def test_with_json_a_foreground_run_tells_in_a_document_that_it_is_ready(folder: Path) -> None:
    with started(folder, "--json") as up:
        wait_for(lambda: up.run_file.exists() and documents(up), BEGUN_WITHIN_S, f"ready; so far: {up.output}")
        (ready,) = documents(up)
        assert (ready["url"], ready["pid"], ready["namespace"]) == (up.url, up.process.pid, "organism-notes")
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(ENDED_WITHIN_S) == 0
        assert up.pids() == []
        assert documents(up) == [ready]


def documents(up: Up) -> list[dict[str, Any]]:
    return [json.loads(line) for line in up.output.splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]
