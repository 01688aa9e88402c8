"""A thousand listeners in shared cells, where an actor for each would take 70 GB and many minutes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from organism.messages import Accepted
from tests.ray.log_checks import check_log
from tests.ray.ray_organism import inject, listener, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

COUNT = 1000
CELLS = 4

ANSWER = """
async def answer(payload, context):
    return Reply(payload)
"""


async def test_a_thousand_listeners_in_shared_cells_answer(start, tmp_path, record_property):
    names = [f"a{number}" for number in range(COUNT)]
    listeners = [listener(name, handler="handlers.answer") for name in names]
    path = write_organism(tmp_path / "organism", *listeners, handlers=ANSWER, isolation="shared", shared_cells=CELLS)
    began_s = time.monotonic()
    async with start(path) as organism:
        await organism.up(*names[: 2 * CELLS])
        record_property("start_s", round(time.monotonic() - began_s, 2))
        agents = (await organism.ref.snapshot()).agents
        pids = {each["pid"] for each in agents}
        assert len(pids) == CELLS
        accepted = await organism.ref.submit([inject(name, name) for name in names])
        await organism.idle()
        record_property("answered_s", round(time.monotonic() - began_s, 2))
        for name, each in (("pump", organism.pids("ray::PumpActor")), ("cells", sorted(pids))):
            record_property(f"rss_mb_{name}", [rss_mb(pid) for pid in each])
    log = check_log(organism.log, [each for each in accepted if isinstance(each, Accepted)], relays=names)
    assert len(log.messages) == 2 * COUNT


def rss_mb(pid: int) -> int:
    """Resident memory of a process, megabytes."""
    [line] = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS:")]
    return int(line.split()[1]) // 1024
