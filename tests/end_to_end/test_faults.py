"""Kill -9 below a running `organism up`, seen by those who use its API; then the whole log is checked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from organism.config import StorageSection
from tests.end_to_end.http_load import Follower, Load, until
from tests.end_to_end.up import Up
from tests.ray.launched import MARK, pids_marked, wait_for
from tests.ray.log_checks import check_log, read_log
from tests.ray.ray_organism import RELAYS, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

GONE_WITHIN_S = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a chain whose handlers take their time, so that whenever something is killed they are at work."""
    folder = write_organism(tmp_path / "organism").parent
    handlers = folder / "handlers.py"
    handlers.write_text(handlers.read_text().replace("    return ", "    await asyncio.sleep(0.2)\n    return "))
    return folder


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    up = Up(folder, "--port", "0")
    try:
        yield up.wait_ready()
    finally:
        up.end()


def stop(up: Up) -> None:
    up.post("/api/v1/organism/stop").raise_for_status()
    assert up.process.wait(GONE_WITHIN_S) == 0
    wait_for(lambda: not up.pids(), GONE_WITHIN_S, "its processes gone")


def idle(up: Up) -> bool:
    agents = up.get("/api/v1/agents").json()["agents"]
    return not any(each["queue_depth"] or each["running"] for each in agents)


def log_of(folder: Path) -> Path:
    return folder / StorageSection().path


async def test_streams_that_a_killed_process_has_cut_off_are_resumed_without_gap_or_double(up, folder):
    load = Load(up.url)
    followers = [Follower(up.url, path) for path in ("/ws", "/ws/messages")]
    async with followers[0].following(), followers[1].following():
        async with load.running():
            for process in ("ray::ServeReplica", "ray::PumpActor", "ray::ServeReplica", "sqlite_server.py"):
                up.kill(process)
                await load.some_more()
        await until(lambda: idle(up), "nothing waits")
        written = len(read_log(log_of(folder)).messages)
        await until(lambda: all(each.last_seq >= written for each in followers), "all messages have come")
    for each in followers:
        assert each.lost_streams >= 2
        assert each.seqs == list(range(1, written + 1))
    stop(up)
    check_log(log_of(folder), load.accepted, relays=RELAYS, unanswered=load.unanswered)


async def test_after_a_kill_of_everything_the_work_is_finished(up, folder):
    load = Load(up.url)
    async with load.running():
        up.process.kill()
        up.kill()
    up.process.wait()
    assert read_log(log_of(folder)).queued
    again = Up(folder, "--port", "0")
    try:
        again.wait_ready()
        await until(lambda: idle(again), "nothing waits")
        stop(again)
    finally:
        again.end()
    check_log(log_of(folder), load.accepted, relays=RELAYS, unanswered=load.unanswered)


def test_a_second_up_is_refused_and_down_leaves_no_process_behind(folder):
    mark = uuid4().hex
    command = [Path(sys.executable).with_name("organism")]
    environment = {**os.environ, MARK: mark}
    subprocess.run([*command, "up", "--detach", "--port", "0"], cwd=folder, env=environment, check=True)
    try:
        assert pids_marked(mark)
        second = Up(folder)
        assert second.process.wait(GONE_WITHIN_S) == 1
        assert "runs already" in second.output
        subprocess.run([*command, "down"], cwd=folder, env=environment, check=True)
        wait_for(lambda: not pids_marked(mark), GONE_WITHIN_S, "its processes gone")
    finally:
        for pid in pids_marked(mark):
            os.kill(pid, signal.SIGKILL)
