"""What a long queue costs the pump: its memory with a million messages that wait for a paused agent, and afterwards.

The queue lives in the log; the pump holds a window of it. Resident memory, in megabytes of 1,000,000 bytes.

    python benchmarks/pending.py [--json] [--messages 1000000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too
os.environ.setdefault("RAY_worker_niceness", "0")  # read when Ray is imported; the launcher sets it as well

import ray

from organism.config import StorageSection
from organism.messages import Accepted, Inject
from organism.ray_actors import PUMP, RayOrganism, shut_down, start_pump

NAMESPACE = "benchmark"
AGENT = "sink"
MESSAGE = Inject(AGENT, "ShoutedResponse", b'{"message":"HELLO DAN!"}')
BATCH = 1000
SUBMITTERS = 4
WARM_UP = 20_000
POLL_S = 0.1


async def submit(organism: RayOrganism, count: int) -> None:
    """Injects `count` messages, each in a thread of its own."""
    left = count // BATCH

    async def submitter() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            accepted = await organism.submit([MESSAGE] * BATCH)
            assert all(isinstance(each, Accepted) for each in accepted), accepted[:1]

    await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))


async def drained(organism: RayOrganism) -> None:
    """Returns when nothing waits any more."""
    while (await organism.events("", 0, 0.0)).active_threads:  # noqa: ASYNC110 (events are not asked for)
        await asyncio.sleep(POLL_S)


async def resident_mb(pump: Any) -> float:
    statm = await pump.__ray_call__.remote(lambda _: Path("/proc/self/statm").read_text())
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(messages: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(__file__).parent / "chain", folder, dirs_exist_ok=True)
        organism = await start_pump(Path(folder) / "organism.yaml", NAMESPACE, StorageSection())
        try:
            pump = ray.get_actor(PUMP, NAMESPACE)
            await submit(organism, WARM_UP)  # what is imported and cached at first use is no queue
            await drained(organism)
            before = await resident_mb(pump)
            await organism.pause(AGENT)
            started_s = time.perf_counter()
            await submit(organism, messages)
            queued_s = time.perf_counter() - started_s
            after = await resident_mb(pump)
            started_s = time.perf_counter()
            await organism.resume(AGENT)
            await drained(organism)
            drained_s = time.perf_counter() - started_s
            at_last = await resident_mb(pump)
        finally:
            await shut_down(NAMESPACE)
    return {
        "pending": messages // BATCH * BATCH,
        "pump_rss_before_mb": round(before, 1),
        "pump_rss_after_mb": round(after, 1),
        "growth_mb": round(after - before, 1),
        "pump_rss_drained_mb": round(at_last, 1),
        "queued_s": round(queued_s, 1),
        "drained_s": round(drained_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    parser.add_argument("--messages", type=int, default=1_000_000, help="messages that wait, a multiple of 1,000")
    arguments = parser.parse_args()
    ray.init("local", namespace=NAMESPACE, include_dashboard=False, log_to_driver=False)
    result = asyncio.run(measure(arguments.messages))
    ray.shutdown()
    for name, value in result.items():
        print(f"{name:>24} {value:>12,}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
