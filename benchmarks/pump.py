"""Durable messages per second through the pump and real Ray actors, beside autogen-core in memory, in one run.

A chain is three messages (greeter → shouter → sink), each validated by pydantic and committed to SQLite with
synchronous=FULL before it is delivered.

    python benchmarks/pump.py [--json] [--chains 60000] [--alone 200]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too
os.environ.setdefault("RAY_worker_niceness", "0")  # read when Ray is imported; the launcher sets it as well

import ray

from benchmarks.autogen_chain import messages_per_s as autogen_messages_per_s
from organism.config import StorageSection
from organism.messages import Accepted, Inject
from organism.ray_actors import RayOrganism, shut_down, start_pump

NAMESPACE = "benchmark"
GREETING = Inject("greeter", "Greeting", b'{"name":"Dan"}')
BATCH = 1000
SUBMITTERS = 4


async def throughput(organism: RayOrganism, chains: int) -> float:
    """Injects as fast as the pump accepts and waits until everything is handled."""
    before = (await organism.snapshot()).seq
    left = chains // BATCH

    async def submitter() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            accepted = await organism.submit([GREETING] * BATCH)
            assert all(isinstance(each, Accepted) for each in accepted), accepted[:1]

    started_s = time.perf_counter()
    await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))
    wanted = before + 3 * (chains // BATCH) * BATCH
    while True:
        # Polled rarely, and without reading events: the benchmark's own client must not take the pump's time.
        answer = await organism.events("", 0, 0.0)
        if answer.last_seq >= wanted and answer.active_threads == 0:
            break
        await asyncio.sleep(0.02)
    return (wanted - before) / (time.perf_counter() - started_s)


async def one_alone(organism: RayOrganism, times: int) -> list[float]:
    """Milliseconds from an inject to the completion of its chain, nothing else going on."""
    durations_ms: list[float] = []
    snapshot = await organism.snapshot()
    incarnation, cursor = snapshot.incarnation, snapshot.cursor
    for _ in range(times):
        started_s = time.perf_counter()
        [accepted] = await organism.submit([GREETING])
        assert isinstance(accepted, Accepted)
        completed = False
        while not completed:
            batch = await organism.events(incarnation, cursor, 10.0)
            cursor = batch.cursor
            completed = any(event.kind == "thread_updated" for event in batch.events)
        durations_ms.append((time.perf_counter() - started_s) * 1000)
    return durations_ms


async def measure(chains: int, alone: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(__file__).parent / "chain", folder, dirs_exist_ok=True)
        organism = await start_pump(Path(folder) / "organism.yaml", NAMESPACE, StorageSection())
        try:
            await throughput(organism, min(chains, 5_000))  # processes warm, caches filled
            durable = statistics.median([await throughput(organism, chains) for _ in range(3)])
            durations_ms = await one_alone(organism, alone)
        finally:
            await shut_down(NAMESPACE)
    peer = statistics.median([await autogen_messages_per_s(chains // 10) for _ in range(3)])
    cuts = statistics.quantiles(durations_ms, n=100)
    return {
        "messages_per_s": round(durable),
        "autogen_messages_per_s": round(peer),
        "ratio": round(durable / peer, 2),
        "chain_p50_ms": round(cuts[49], 2),
        "chain_p99_ms": round(cuts[98], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    parser.add_argument("--chains", type=int, default=60_000, help="chains in each of three rounds")
    parser.add_argument("--alone", type=int, default=200, help="chains run one after the other")
    arguments = parser.parse_args()
    ray.init("local", namespace=NAMESPACE, include_dashboard=False, log_to_driver=False)
    result = asyncio.run(measure(arguments.chains, arguments.alone))
    ray.shutdown()
    for name, value in result.items():
        print(f"{name:>24} {value:>12,}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
