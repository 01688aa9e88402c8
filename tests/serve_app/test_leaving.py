"""What ends the processes of a run, where Ray does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from organism.cli.lifecycle import process_lives
from serve_app.leaving import RUN_MARK

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system shows no environments")

FOREVER = "import signal; print('up', flush=True); signal.pause()"

LEAVING = """
import signal, subprocess, sys
from pathlib import Path
from serve_app.leaving import Departure, adopt_orphans
run_dir, dead, is_ending = Path(sys.argv[1]), sys.argv[2] or None, sys.argv[3] == "ending"
orphan = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], "
orphan += "env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
adopt_orphans()
print(subprocess.run([sys.executable, "-c", orphan], stdout=-1).stdout.decode(), flush=True)
departure = Departure(run_dir, lambda: dead, 7, within_s=0.2)
if is_ending:
    departure.end_ray()
departure.begin()
signal.pause()
"""


@contextmanager
def started(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, RUN_MARK: str(run_dir)}
    with subprocess.Popen(
        [sys.executable, "-c", FOREVER], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        try:
            yield process
        finally:
            process.kill()


def end_what_is_left(run_dir: Path, patience_s: float) -> bool:
    """In a process of its own: the children of this one are not all of the run."""
    code = (
        f"from pathlib import Path; from serve_app.leaving import *; end_what_is_left(Path('{run_dir}'), {patience_s})"
    )
    return subprocess.run([sys.executable, "-c", f"{code} or sys.exit(1)"], timeout=60, check=False).returncode == 0


def test_the_processes_of_a_run_are_ended_and_no_others(tmp_path: Path) -> None:
    with started(tmp_path / "one") as one, started(tmp_path / "on") as other:
        assert end_what_is_left(tmp_path / "one", 0.0)
        assert one.wait() < 0
        assert other.poll() is None


def test_children_that_do_not_show_where_they_come_from_are_found(tmp_path: Path) -> None:
    parent = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "{FOREVER}"], env={{}})
print(child.pid, flush=True)
child.wait()
"""
    environment = {**os.environ, RUN_MARK: str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", parent], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert process_lives(child)
        assert end_what_is_left(tmp_path, 0.0)
    assert not process_lives(child)


def test_where_nothing_is_left_nothing_is_waited_for(tmp_path: Path) -> None:
    assert end_what_is_left(tmp_path, 60.0)


def leave(run_dir: Path, dead: str, phase: str) -> subprocess.CompletedProcess[str]:
    run_dir.mkdir()
    return subprocess.run(
        [sys.executable, "-c", LEAVING, run_dir, dead, phase],
        env={**os.environ, RUN_MARK: str(run_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("dead", "phase", "why"),
    [
        ("", "asking", "Ray has not ended everything within 0.2 s"),
        ("raylet", "asking", "Ray ended (its raylet) before it was told to"),
        ("raylet", "ending", "Ray has not ended everything within 0.2 s"),
    ],
)
def test_what_ray_does_not_end_is_ended_without_it(tmp_path: Path, dead: str, phase: str, why: str) -> None:
    left = leave(tmp_path / "run", dead, phase)
    assert left.returncode == 7
    assert left.stderr == f"organism: {why}; the processes that are left are killed\n"
    assert not process_lives(int(left.stdout))
    assert not (tmp_path / "run").exists()
