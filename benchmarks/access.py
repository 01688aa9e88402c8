"""What strangers learn from times, and what they cost: wrong keys, and connections that never say who they are.

    python benchmarks/access.py [--json] [--calls 20000] [--requests 3000] [--sockets 1000]

KIND is right_key; wrong_secret, under an id that there is; late_wrong, right but for its last characters; unknown_id.

KIND_ns               Authority.recognise in this process, each of another one of 1,000 keys; in random order; medians
http_KIND_us          the same as GET /api/v1/me on one connection to an organism, through HAProxy
id_gap_…              wrong_secret less unknown_id, medians: does time tell that there is such an id? Within low and
                      high in 95 % of resamples; noise: as a share of the interquartile range; slower: how often the
                      first took longer (Mann-Whitney), 0.5 tells nothing. In this process the processor's caches and
                      branch prediction show, by up to a tenth of a microsecond in either direction
late_gap_…            late_wrong less wrong_secret: does it tell how much of a secret is right?
ws_silent_…           1,000 sockets on /ws that never say who they are; ws_known_…: that have sent a key; sio_…: those
                      of Socket.IO. Each kind on a replica that has just begun
…_kb                  memory of the replica for each of them, while all are open
…_gone_s, …_last_s    until the first and the last of them is closed by the server, from its own handshake
…_get_p50_ms, p99     GET /api/v1/agents meanwhile, one after the other; alone_…: without any socket
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import numpy as np
import uvloop

from benchmarks.api import HOST, Api, organism_with_key
from benchmarks.http_load import HEAD_END, LENGTH, request_bytes
from benchmarks.memory import pids_below, pss_mb
from benchmarks.ws_load import WebSocketClient, connect, text_frame
from organism.access.keys import NewKey, issue
from organism.access.principal import Role
from organism.errors import Unauthenticated
from organism.messages import now_ms
from serve_app.authority import Authority
from serve_app.replica_server import DIRECT_HEADER

KEYS = 1000
RESAMPLES = 1000
SECRET_AT = len("org_") + 10 + 1
AT_ONCE = 50
"""Sockets that are opened together."""

WARM_UP = 300
PAUSE_S = 0.01
KNOWN_FOR_S = 5.0
GONE_WITHIN_S = 15.0
REPLACED_WITHIN_S = 60.0
SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
KINDS = ("right_key", "wrong_secret", "late_wrong", "unknown_id")


def texts_of(right: str) -> dict[str, str]:
    """What is sent, by kind; see above."""
    last = "AAAA" if not right.endswith("AAAA") else "BBBB"
    return {
        "right_key": right,
        "wrong_secret": right[:SECRET_AT] + secrets.token_urlsafe(32),
        "late_wrong": right[:-4] + last,
        "unknown_id": issue(NewKey("unknown", Role.VIEWER), 0).text,
    }


# Times


def gap(name: str, slow: np.ndarray, fast: np.ndarray, unit: str) -> dict[str, float]:
    """How far two kinds of refusals are apart; both float64 [n]."""
    generator = np.random.default_rng(1)

    def resampled(times: np.ndarray) -> np.ndarray:
        return np.array([np.median(generator.choice(times, len(times))) for _ in range(RESAMPLES)])

    difference = float(np.median(slow) - np.median(fast))
    low, high = np.percentile(resampled(slow) - resampled(fast), [2.5, 97.5])
    lower, upper = np.percentile(fast, [25, 75])
    ordered = np.sort(fast)
    beaten = (np.searchsorted(ordered, slow, "left") + np.searchsorted(ordered, slow, "right")) / 2
    return {
        f"{name}_gap_{unit}": round(difference, 2),
        f"{name}_gap_low_{unit}": round(float(low), 2),
        f"{name}_gap_high_{unit}": round(float(high), 2),
        f"{name}_gap_noise": round(difference / float(upper - lower or 1), 3),
        f"{name}_slower": round(float(beaten.mean() / len(fast)), 3),
    }


def recognise_times_ns(calls: int) -> dict[str, np.ndarray]:
    """`calls` of each kind. None of them profits from its place, nor from the key of the one before, which would still
    be in the processor's cache."""
    issued = [issue(NewKey(f"key{number}", Role.OPERATOR), now_ms()) for number in range(KEYS)]
    authority = Authority(lambda: True, None)
    authority.take([each.key for each in issued])
    order = random.Random(1)
    took: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for _ in range(calls + WARM_UP):
        texts = {kind: texts_of(order.choice(issued).text)[kind] for kind in KINDS}
        for kind in order.sample(KINDS, len(KINDS)):
            began_ns = time.perf_counter_ns()
            with suppress(Unauthenticated):
                authority.recognise(texts[kind])
            took[kind].append(time.perf_counter_ns() - began_ns)
    return {kind: np.array(times[WARM_UP:], float) for kind, times in took.items()}


class Getter:
    """One kept connection, one GET at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self._reader = reader
        self._writer = writer
        self._authority = f"{HOST}:{port}"

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator[Self]:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            yield cls(reader, writer, port)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def get(self, path: str, key: str) -> tuple[float, bytes]:
        """Seconds until the answer was there, and its head."""
        request = request_bytes("GET", path, self._authority, key=key)
        began_s = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(HEAD_END)
        length_at = head.lower().find(LENGTH) + len(LENGTH)
        await self._reader.readexactly(int(head[length_at : head.index(b"\r", length_at)]))
        return time.perf_counter() - began_s, head


async def http_times_us(api: Api, requests: int) -> dict[str, np.ndarray]:
    texts, order = texts_of(api.key), random.Random(1)
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    async with Getter.connected(api.port) as getter:
        for _ in range(requests + WARM_UP):
            for kind in order.sample(KINDS, len(KINDS)):
                took_s, head = await getter.get("/api/v1/me", texts[kind])
                assert head.startswith(b"HTTP/1.1 200" if kind == "right_key" else b"HTTP/1.1 401"), head
                took[kind].append(took_s * 1e6)
    return {kind: np.array(times[WARM_UP:]) for kind, times in took.items()}


def shown_times(took: dict[str, np.ndarray], prefix: str, unit: str) -> dict[str, float]:
    medians = {f"{prefix}{kind}_{unit}": round(float(np.median(times)), 1) for kind, times in took.items()}
    found = gap("id", took["wrong_secret"], took["unknown_id"], unit)
    found |= gap("late", took["late_wrong"], took["wrong_secret"], unit)
    return medians | {f"{prefix}{name}": value for name, value in found.items()}


# Sockets


class Socket:
    """One connection over a WebSocket; `closed_s` when the server has closed it, from its handshake on."""

    def __init__(self, path: str, key: str, says: bytes, hears: bytes) -> None:
        """says: sent first; empty for nothing. hears: how the text begins that tells that it is known."""
        self._says = says
        self._hears = hears
        self.known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.client = WebSocketClient(HOST, path, self._on_frame, lambda: None, key)
        self.closed_s: float | None = None

    async def open(self, port: int) -> None:
        await connect(self.client, HOST, port)
        opened_s = time.perf_counter()
        self.client.failed.add_done_callback(lambda future: self._note_end(future, opened_s))
        if self._says:
            self.client.send(text_frame(self._says))
        if self._hears:
            await self.known

    def _note_end(self, future: asyncio.Future[None], opened_s: float) -> None:
        if not future.cancelled():
            future.exception()
            self.closed_s = time.perf_counter() - opened_s

    def _on_frame(self, buffer: bytes, start: int, _: int) -> None:
        if self._hears and buffer.startswith(self._hears, start) and not self.known.done():
            self.known.set_result(None)


class Crowd(NamedTuple):
    """What to open: see Socket. Nobody known stays until the server closes it."""

    path: str
    key: str = ""
    says: bytes = b""
    hears: bytes = b""

    @property
    def is_known(self) -> bool:
        return bool(self.hears)


def crowds(api: Api) -> dict[str, Crowd]:
    hello = b"40" + json.dumps({"token": api.key}).encode()
    return {
        "ws_silent": Crowd("/ws"),
        "ws_known": Crowd("/ws", api.key, b"", b'{"event":"connected"'),
        "sio_silent": Crowd(SOCKET_IO),
        "sio_known": Crowd(SOCKET_IO, "", hello, b"40"),
    }


async def opened(api: Api, crowd: Crowd, count: int) -> list[Socket]:
    sockets = [Socket(*crowd) for _ in range(count)]
    for at in range(0, count, AT_ONCE):
        await asyncio.gather(*(each.open(api.port) for each in sockets[at : at + AT_ONCE]))
    return sockets


async def measure_crowd(api: Api, crowd: Crowd, count: int) -> dict[str, float]:
    pid = replica_pid()
    async with polling(api) as times_ms:
        before_mb = pss_mb(pid)
        sockets = await opened(api, crowd, count)
        found = {"kb": round((pss_mb(pid) - before_mb) * 1024 / count, 1)}
        if crowd.is_known:
            await asyncio.sleep(KNOWN_FOR_S)
            assert all(each.closed_s is None for each in sockets), "somebody known was shut out"
        else:
            found |= await gone(sockets)
    for each in sockets:
        each.client.close()
    return found | percentiles(times_ms)


async def gone(sockets: list[Socket]) -> dict[str, float]:
    async with asyncio.timeout(GONE_WITHIN_S):
        while any(each.closed_s is None for each in sockets):  # noqa: ASYNC110 - a thousand ends, and no event of them all
            await asyncio.sleep(PAUSE_S)
    ends_s = [each.closed_s for each in sockets if each.closed_s is not None]
    return {"gone_s": round(min(ends_s), 2), "last_s": round(max(ends_s), 2)}


@asynccontextmanager
async def polling(api: Api) -> AsyncIterator[list[float]]:
    """Milliseconds that requests take meanwhile."""
    times_ms: list[float] = []

    async def poll(getter: Getter) -> None:
        while True:
            took_s, head = await getter.get("/api/v1/agents", api.key)
            assert head.startswith(b"HTTP/1.1 200"), head
            times_ms.append(took_s * 1e3)
            await asyncio.sleep(PAUSE_S)

    async with Getter.connected(api.port) as getter:
        task = asyncio.create_task(poll(getter))
        try:
            yield times_ms
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def percentiles(times_ms: list[float]) -> dict[str, float]:
    return {
        "get_p50_ms": round(statistics.median(times_ms), 2),
        "get_p99_ms": round(statistics.quantiles(times_ms, n=100)[98], 2),
    }


def replica_pid() -> int:
    (pid,) = pids_below(os.getpid(), "ray::ServeReplica", ":Api")
    return pid


async def replaced(api: Api) -> None:
    """Returns when a replica that has just begun answers: memory that an earlier crowd has left would be used again."""
    before = replica_pid()
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(REPLACED_WITHIN_S):
        while not await _is_new(api, before):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    async with Getter.connected(api.port) as getter:
        for _ in range(WARM_UP):
            await getter.get("/api/v1/agents", api.key)
    for crowd in crowds(api).values():
        for each in await opened(api, crowd, AT_ONCE // 10):
            each.client.close()


async def _is_new(api: Api, before: int) -> bool:
    try:
        async with Getter.connected(api.port) as getter:
            _, head = await getter.get("/ready", "")
            _, agents = await getter.get("/api/v1/agents", api.key)
        found = pids_below(os.getpid(), "ray::ServeReplica", ":Api")
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return False
    return DIRECT_HEADER.encode() in head and b" 200 " in agents[:20] and len(found) == 1 and found != [before]


async def measure(api: Api, requests: int, sockets: int) -> dict[str, float]:
    found = shown_times(await http_times_us(api, requests), "http_", "us")
    await replaced(api)
    async with polling(api) as times_ms:
        await asyncio.sleep(KNOWN_FOR_S)
    found |= {f"alone_{name}": value for name, value in percentiles(times_ms).items()}
    for name, crowd in crowds(api).items():
        await replaced(api)
        found |= {f"{name}_{what}": value for what, value in (await measure_crowd(api, crowd, sockets)).items()}
    return found


def run(calls: int, requests: int, sockets: int) -> dict[str, float]:
    found = shown_times(recognise_times_ns(calls), "", "ns")
    with tempfile.TemporaryDirectory() as name, organism_with_key(Path(name) / "keyed") as api:
        found |= uvloop.run(measure(api, requests, sockets))
    return found | {"load_average": round(os.getloadavg()[0], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    parser.add_argument("--calls", type=int, default=20_000, help="of each kind, in this process")
    parser.add_argument("--requests", type=int, default=3000, help="of each kind, over HTTP")
    parser.add_argument("--sockets", type=int, default=1000, help="that are open together")
    arguments = parser.parse_args()
    result = run(arguments.calls, arguments.requests, arguments.sockets)
    for name, value in result.items():
        print(f"{name:>24} {value:>12,}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
