"""The API as clients meet it: through HAProxy, from another process, with an organism that handles what it is sent.

    python benchmarks/api.py [--json] [--rounds 3] [--seconds 4] [--clients 100]

up_s                  from the command `organism up` to 200 from /ready by way of HAProxy; no Ray ran before
get_agents_rps        GET /api/v1/agents over 16 connections; get_agents_ratio_bare: to the same bytes from FastAPI
                      on bare uvicorn, without anything in front of it
inject_rps            POST /api/v1/inject over 16 connections, each answered after its commit
ws_inject_per_s       injects on one /ws connection, answers awaited later
fanout_events_per_s   messages delivered to 100 clients of /ws in total; each checks that none is lost or doubled
…_with_key            the same, of a second organism that wants an API key, measured in turn with the first; its limits
                      per principal are on, and beyond what is sent here. …_ratio: with by without

Every inject sets off the chain of benchmarks/pump.py: three durable messages through three agents, handled meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import httpx
import uvloop

from benchmarks.http_load import request_bytes, requests_per_s
from benchmarks.ws_load import Follower, Injector, connect
from serve_app.replica_server import DIRECT_HEADER

HOST = "127.0.0.1"
CONNECTIONS = 16
WINDOW = 1000
"""Commands without an answer on one WebSocket."""

AHEAD = 3000
"""Messages that the load may be ahead of the slowest follower; the API keeps 10,000 for a client."""

BURST = 100
"""Injects sent at once while others follow."""

HOPS = 3
"""Messages that follow from an inject, itself among them."""

POLL_S = 0.02
READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 60.0

BODY = b'{"to":"greeter","payload":{"name":"Dan"}}'
INJECT = b'{"cmd":"inject",' + BODY[1:]
UNSUBSCRIBE = b'{"cmd":"unsubscribe"}'


KEY_NAMES = ("get_agents_rps", "inject_rps", "ws_inject_per_s")
"""What is measured with a key, too."""

NEVER_REACHED = {"requests_per_s": 1e6, "commands_per_s": 1e6, "streams": 100_000}


class Api(NamedTuple):
    """An organism's: where it listens, and the key that it wants, if it does."""

    port: int
    key: str = ""


class Load(NamedTuple):
    """How long and how much: `seconds` of HTTP load a round, the injects on a WebSocket, the fan-out."""

    rounds: int
    seconds: float
    injects: int
    clients: int
    messages: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@contextmanager
def running(
    command: list[str], url: str, log: Path, *, header: str = "date", environment: dict[str, str] | None = None
) -> Iterator[float]:
    """Runs a server in this context; gives the seconds until `url` answered 200, with this header."""
    with log.open("wb") as output:
        started_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | (environment or {}))
        try:
            _wait_for(url, header, process, log)
            yield time.perf_counter() - started_s
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOPPED_WITHIN_S)


def _wait_for(url: str, header: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    with httpx.Client(trust_env=False, timeout=READY_WITHIN_S) as client:
        while time.monotonic() < deadline_s and process.poll() is None:
            with suppress(httpx.TransportError):  # it does not listen yet
                answer = client.get(url)
                if answer.status_code == httpx.codes.OK and header in answer.headers:
                    return
            time.sleep(POLL_S)
    sys.exit(f"{url} did not answer:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def organism(folder: Path, port: int) -> Iterator[float]:
    """`organism up`, until the end of the context."""
    command = [str(Path(sys.executable).with_name("organism")), "up", str(folder / "organism.yaml")]
    url = f"http://{HOST}:{port}/ready"
    with running([*command, "--port", str(port)], url, folder / "up.log", header=DIRECT_HEADER) as up_s:
        yield up_s


@contextmanager
def bare_server(folder: Path, answer: bytes) -> Iterator[int]:
    """The server to compare with; gives its port."""
    port = free_port()
    (folder / "answer.json").write_bytes(answer)
    command = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.bare_api:build_app", "--port", str(port)]
    url = f"http://{HOST}:{port}/agents"
    environment = {"BARE_ANSWER": str(folder / "answer.json")}
    with running([*command, "--no-access-log"], url, folder / "bare.log", environment=environment):
        yield port


@contextmanager
def organism_with_key(folder: Path) -> Iterator[Api]:
    """The same organism, where nobody gets in without a key."""
    shutil.copytree(Path(__file__).parent / "chain", folder)
    with (folder / "organism.yaml").open("a") as file:
        file.write(f"auth: {json.dumps({'limits': NEVER_REACHED})}\n")
    command = [str(Path(sys.executable).with_name("organism")), "keys", "add", "load", "--role", "operator"]
    key = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    port = free_port()
    with organism(folder, port):
        yield Api(port, key)


async def gets_per_s(api: Api, path: str, seconds: float) -> float:
    request = request_bytes("GET", path, f"{HOST}:{api.port}", key=api.key)
    return await requests_per_s(HOST, api.port, request, connections=CONNECTIONS, duration_s=seconds)


async def posts_per_s(api: Api, seconds: float) -> float:
    request = request_bytes("POST", "/api/v1/inject", f"{HOST}:{api.port}", BODY, key=api.key)
    return await requests_per_s(HOST, api.port, request, connections=CONNECTIONS, duration_s=seconds)


async def ws_injects_per_s(api: Api, count: int) -> float:
    injector = Injector(HOST, WINDOW, api.key)
    await connect(injector.client, HOST, api.port)
    await injector.run(UNSUBSCRIBE, 1)
    elapsed_s = await injector.run(INJECT, count)
    injector.client.close()
    return count / elapsed_s


async def fanout_per_s(port: int, clients: int, messages: int) -> float:
    """Events that all clients got together, per second; a client that missed one ends the run.

    messages: that each of them gets, rounded up to whole bursts.
    """
    wanted = math.ceil(messages / (BURST * HOPS)) * BURST * HOPS
    injector = Injector(HOST, WINDOW)
    followers = [Follower(HOST) for _ in range(clients)]
    for each in (injector, *followers):
        await connect(each.client, HOST, port)
    await injector.run(UNSUBSCRIBE, 1)
    for follower in followers:
        await follower.subscribe()
    started_s = time.perf_counter()
    sent = slowest = 0
    while slowest < wanted:
        if sent < wanted and sent - slowest < AHEAD:
            await injector.run(INJECT, BURST)
            sent += BURST * HOPS
        else:
            await asyncio.sleep(POLL_S / 4)
        for follower in followers:
            follower.check()
        slowest = min(follower.received for follower in followers)
    elapsed_s = time.perf_counter() - started_s
    came = {(follower.received, follower.last_seq) for follower in followers}
    assert len(came) == 1, f"some clients got more than others: {came}"
    for each in (injector, *followers):
        each.client.close()
    return clients * wanted / elapsed_s


async def settle(api: Api) -> None:
    """Waits until the organism has handled all it was sent, so that one measurement does not disturb the next."""
    headers = {"x-api-key": api.key} if api.key else {}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        while True:
            organism = (await client.get(f"http://{HOST}:{api.port}/api/v1/organism")).json()
            if organism["active_threads"] == 0:
                return
            await asyncio.sleep(POLL_S)


def kinds_of(api: Api, load: Load) -> dict[str, Callable[[], Awaitable[float]]]:
    return {
        "get_agents_rps": lambda: gets_per_s(api, "/api/v1/agents", load.seconds),
        "inject_rps": lambda: posts_per_s(api, load.seconds),
        "ws_inject_per_s": lambda: ws_injects_per_s(api, load.injects),
    }


async def measure(api: Api, with_key: Api, bare_port: int, load: Load) -> dict[str, float]:
    """Medians over the rounds."""
    kinds = {
        "bare_rps": lambda: gets_per_s(Api(bare_port), "/agents", load.seconds),
        "fanout_events_per_s": lambda: fanout_per_s(api.port, load.clients, load.messages),
    }
    plain, keyed = kinds_of(api, load), kinds_of(with_key, load)
    for name in KEY_NAMES:  # one right after the other: the machine is shared, and changes
        kinds |= {name: plain[name], f"{name}_with_key": keyed[name]}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for each in (api, with_key):
        await gets_per_s(each, "/api/v1/agents", 1.0)  # processes warm, caches filled
        await posts_per_s(each, 1.0)
    for _ in range(load.rounds):
        for name, measured in kinds.items():
            await settle(api)
            await settle(with_key)
            found[name].append(await measured())
    result = {name: float(round(statistics.median(values))) for name, values in found.items()}
    result["get_agents_ratio_bare"] = round(result["get_agents_rps"] / result["bare_rps"], 3)
    for name in KEY_NAMES:
        ratios = [with_ / without for without, with_ in zip(found[name], found[f"{name}_with_key"], strict=True)]
        result[f"{name}_key_ratio"] = round(statistics.median(ratios), 3)
    return result


def run(load: Load) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "open"
        shutil.copytree(Path(__file__).parent / "chain", folder)
        times_up_s: list[float] = []
        for _ in range(load.rounds - 1):
            with organism(folder, free_port()) as up_s:
                times_up_s.append(up_s)
        port = free_port()
        with organism(folder, port) as up_s:
            times_up_s.append(up_s)
            answer = httpx.get(f"http://{HOST}:{port}/api/v1/agents", trust_env=False).content
            with bare_server(folder, answer) as bare_port, organism_with_key(Path(name) / "keyed") as with_key:
                result = uvloop.run(measure(Api(port), with_key, bare_port, load))
    return {"up_s": round(statistics.median(times_up_s), 2), **result, "load_average": round(os.getloadavg()[0], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of HTTP load in a round")
    parser.add_argument("--injects", type=int, default=20_000, help="on a WebSocket in a round")
    parser.add_argument("--clients", type=int, default=100, help="that follow the messages")
    parser.add_argument("--messages", type=int, default=3000, help="that each of them gets in a round")
    arguments = parser.parse_args()
    options = {name: value for name, value in vars(arguments).items() if name != "json"}
    result = run(Load(**options))
    for name, value in result.items():
        print(f"{name:>24} {value:>12,}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
