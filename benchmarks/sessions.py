"""Agent sessions as clients meet them: through HAProxy, stored in SQLite, with a model that sends 50 tokens at once.

    python benchmarks/sessions.py [--json] [--isolation shared|actor] [--rounds 3] [--seconds 4] [--sessions 50]

create_p50_ms, create_per_s     POST /create, one after the other; over 16 connections
query_p50_ms                    POST /query in a new session, one after the other: the whole answer, all of it stored
queries_per_s_50                POST /query in 50 sessions side by side
first_event_p50_ms              POST /query/stream in a new session: the first event, stored
stream_p50_ms                   the same, until the last event (agent_run_end) is there and the answer has ended
stream_events_per_s_50          events of POST /query/stream in 50 sessions side by side
rss_mb                          proportional memory of pump, cells, storage and API replica after that
rss_all_mb                      with HAProxy, Ray Serve and Ray itself

Every stream is checked: all its tokens, and one agent_run_end. The model is benchmarks/token_server.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import uvloop

from benchmarks.api import CONNECTIONS, HOST, free_port, organism, running
from benchmarks.memory import tree_mb
from benchmarks.session_load import SessionClient
from benchmarks.token_server import TOKENS

ORGANISM = """\
organism: {{name: sessions, port: 0}}
llm:
  backends:
    - {{provider: openai, base_url: "http://127.0.0.1:{port}/v1", models: [tokens]}}
sessions:
  isolation: {isolation}
  max_active: 100000
  agents:
    - {{name: assistant, prompt: You tell stories., tools: []}}
"""

ONE_BY_ONE = 100
"""Requests of one measurement that come one after the other."""


class Load(NamedTuple):
    """How long and how much: `seconds` of each load, `sessions` side by side."""

    isolation: str
    rounds: int
    seconds: float
    sessions: int


async def times_ms(call: Callable[[], Awaitable[float | None]], count: int) -> float:
    """The median time of `count` calls; a call may tell its own time in seconds."""
    found: list[float] = []
    for _ in range(count):
        started_s = time.perf_counter()
        own_s = await call()
        found.append(own_s or time.perf_counter() - started_s)
    return statistics.median(found) * 1000


async def per_s(calls: Sequence[Callable[[], Awaitable[int]]], seconds: float) -> float:
    """Does all calls over and over, side by side; the sum of what they return, per second."""
    started_s = time.perf_counter()

    async def repeat(call: Callable[[], Awaitable[int]]) -> int:
        total = 0
        while time.perf_counter() - started_s < seconds:
            total += await call()
        return total

    totals = await asyncio.gather(*(repeat(call) for call in calls))
    return sum(totals) / (time.perf_counter() - started_s)


class Sessions:
    """The measurements at one server."""

    def __init__(self, clients: list[SessionClient], ids: list[str], load: Load) -> None:
        self._clients = clients
        self._ids = ids
        self._load = load

    async def _used_session(self) -> str:
        """A session with one query behind it, so that its cell is there and has loaded it."""
        session_id = await self._clients[0].create()
        await self._clients[0].query(session_id)
        return session_id

    async def create_p50_ms(self) -> float:
        async def create() -> None:
            await self._clients[0].create()

        return await times_ms(create, ONE_BY_ONE)

    async def create_per_s(self) -> float:
        async def create(client: SessionClient) -> int:
            await client.create()
            return 1

        calls = [lambda client=client: create(client) for client in self._clients[:CONNECTIONS]]
        return await per_s(calls, self._load.seconds)

    async def query_p50_ms(self) -> float:
        session_id = await self._used_session()
        return await times_ms(lambda: self._clients[0].query(session_id), ONE_BY_ONE)

    async def queries_per_s_50(self) -> float:
        async def query(client: SessionClient, session_id: str) -> int:
            await client.query(session_id)
            return 1

        pairs = zip(self._clients, self._ids, strict=True)
        return await per_s([lambda pair=pair: query(*pair) for pair in pairs], self._load.seconds)

    async def first_event_p50_ms(self) -> float:
        session_id = await self._used_session()

        async def stream() -> float:
            return (await self._clients[0].stream(session_id, TOKENS)).first_s

        return await times_ms(stream, ONE_BY_ONE)

    async def stream_p50_ms(self) -> float:
        session_id = await self._used_session()

        async def stream() -> float:
            return (await self._clients[0].stream(session_id, TOKENS)).whole_s

        return await times_ms(stream, ONE_BY_ONE)

    async def stream_events_per_s_50(self) -> float:
        async def stream(client: SessionClient, session_id: str) -> int:
            return (await client.stream(session_id, TOKENS)).events

        pairs = zip(self._clients, self._ids, strict=True)
        return await per_s([lambda pair=pair: stream(*pair) for pair in pairs], self._load.seconds)


async def measure(port: int, load: Load) -> dict[str, float]:
    """Medians over the rounds."""
    clients = [await SessionClient.connect(HOST, port) for _ in range(load.sessions)]
    ids = [await client.create() for client in clients]
    for client, session_id in zip(clients, ids, strict=True):  # processes warm, sessions loaded
        await client.query(session_id)
    sessions = Sessions(clients, ids, load)
    names = ["query_p50_ms", "queries_per_s_50", "first_event_p50_ms", "stream_p50_ms", "stream_events_per_s_50"]
    if load.isolation == "shared":  # with a process for each, this would measure how fast processes start
        names = ["create_p50_ms", "create_per_s", *names]
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(load.rounds):
        for name in names:
            found[name].append(await getattr(sessions, name)())
    for client in clients:
        client.close()
    return {name: round(statistics.median(values), 2) for name, values in found.items()}


def run(load: Load) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_port, port = free_port(), free_port()
        (folder / "organism.yaml").write_text(ORGANISM.format(port=model_port, isolation=load.isolation))
        model = [sys.executable, str(Path(__file__).with_name("token_server.py")), "--port", str(model_port)]
        url = f"http://{HOST}:{model_port}/v1/models"
        with running(model, url, folder / "model.log", header="content-type"), organism(folder, port):
            result = uvloop.run(measure(port, load))
            result |= tree_mb(os.getpid())
    return {**result, "load_average": round(os.getloadavg()[0], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    parser.add_argument("--isolation", choices=("shared", "actor"), default="shared")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load in a round")
    parser.add_argument("--sessions", type=int, default=50, help="side by side")
    arguments = parser.parse_args()
    options = {name: value for name, value in vars(arguments).items() if name != "json"}
    result = run(Load(**options))
    for name, value in result.items():
        print(f"{name:>24} {value:>12,}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
