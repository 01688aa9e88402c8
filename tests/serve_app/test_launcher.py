"""The launcher up to the point where it would start Ray."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "organism.yaml").write_text("organism: {name: guarded, port: 0}\n")
    return tmp_path


def launch(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "serve_app", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_why_it_does_not_start_is_told_in_a_line(folder: Path) -> None:
    ended = launch(folder, "--host", "0.0.0.0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("organism: will not listen on 0.0.0.0")


@pytest.mark.parametrize(
    ("options", "code"), [(["--host", "0.0.0.0"], "unprotected"), (["--address", "127.0.0.1:1"], "ray_unusable")]
)
def test_with_json_it_is_told_as_a_document(folder: Path, options: list[str], code: str) -> None:
    ended = launch(folder, "--json", *options)
    error = json.loads(ended.stdout)["error"]
    assert (ended.returncode, error["code"], ended.stderr) == (1, code, "")
    assert error["message"]


def test_an_organism_that_is_not_valid_is_told_as_a_document(folder: Path) -> None:
    (folder / "organism.yaml").write_text("organism: {nam: x}\n")
    assert json.loads(launch(folder, "--json").stdout)["error"]["code"] == "config"


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_came_before_it_could_be_taken_ends_the_start(folder: Path, which: signal.Signals) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [which])  # what is started inherits it
    try:
        command = [sys.executable, "-P", "-m", "serve_app", str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with process:
        process.send_signal(which)
        shown, errors = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, "")
    assert errors == "organism: interrupted; what has been started is ended\n"
