"""Many sessions on one machine: 1,000 stored, 200 of them in memory, in shared cells.

    python benchmarks/many_sessions.py [--json] [--stored 1000] [--active 200]

fill_s                  creating all of them, each with one query, 50 at a time
active_query_p50_ms     a query to a session in memory, one after the other
stored_query_p50_ms     a query to one that is only stored: another one makes room, its history is read
rss_mb, rss_all_mb      as in benchmarks/sessions.py; before_rss_mb: with no session yet
active                  sessions in memory at the end, as GET /sessions tells
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import httpx
import uvloop

from benchmarks.api import HOST, free_port, organism, running
from benchmarks.memory import tree_mb
from benchmarks.session_load import SessionClient
from benchmarks.sessions import ONE_BY_ONE, ORGANISM, times_ms

CLIENTS = 50


async def fill(clients: list[SessionClient], count: int) -> list[str]:
    """New sessions with one query each."""
    ids: list[str] = []

    async def work(client: SessionClient) -> None:
        while len(ids) < count:
            ids.append(session_id := await client.create())
            await client.query(session_id)

    await asyncio.gather(*(work(client) for client in clients))
    return ids


async def ids_of(port: int, *, active: bool, count: int) -> list[str]:
    """Of the newest `count` sessions, those that are in memory, or those that are not."""
    found: list[str] = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        for offset in range(0, count, 500):
            answer = await http.get(f"http://{HOST}:{port}/api/v1/sessions?limit=500&offset={offset}")
            found += [each["id"] for each in answer.json()["sessions"] if each["active"] == active]
    return found


async def measure(port: int, stored: int) -> dict[str, float]:
    clients = [await SessionClient.connect(HOST, port) for _ in range(CLIENTS)]
    started_s = time.perf_counter()
    await fill(clients, stored)
    found = {"fill_s": time.perf_counter() - started_s}
    client = clients[0]
    for kind, is_active in (("active", True), ("stored", False)):
        ids = await ids_of(port, active=is_active, count=stored)
        chosen = iter(random.sample(ids, min(ONE_BY_ONE, len(ids))))
        found[f"{kind}_query_p50_ms"] = await times_ms(
            lambda chosen=chosen: client.query(next(chosen)), min(ONE_BY_ONE, len(ids))
        )
    found["active"] = len(await ids_of(port, active=True, count=stored))
    for each in clients:
        each.close()
    return {name: round(value, 2) for name, value in found.items()}


def run(stored: int, active: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_port, port = free_port(), free_port()
        text = ORGANISM.format(port=model_port, isolation="shared").replace(
            "max_active: 100000", f"max_active: {active}"
        )
        (folder / "organism.yaml").write_text(text)
        model = [sys.executable, str(Path(__file__).with_name("token_server.py")), "--port", str(model_port)]
        url = f"http://{HOST}:{model_port}/v1/models"
        with running(model, url, folder / "model.log", header="content-type"), organism(folder, port):
            before_mb = tree_mb(os.getpid())["rss_mb"]
            result = uvloop.run(measure(port, stored))
            return {"before_rss_mb": before_mb, **result, **tree_mb(os.getpid())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    parser.add_argument("--stored", type=int, default=1000)
    parser.add_argument("--active", type=int, default=200)
    arguments = parser.parse_args()
    result = run(arguments.stored, arguments.active)
    for name, value in result.items():
        print(f"{name:>24} {value:>12,}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
