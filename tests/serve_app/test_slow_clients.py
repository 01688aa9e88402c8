"""Clients that read slowly, or not at all."""

import asyncio
import base64
import os

from conftest import Socket, served, socket_to, until
from fake_organism import FakeOrganism
from websockets.asyncio.client import connect

from organism.ref import Event
from serve_app.hub import Hub

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: organism\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n"
)


async def deaf_client(address: str) -> asyncio.StreamWriter:
    """A client that asks for the stream and never reads it."""
    reader, writer = await asyncio.open_connection(*address.split(":"), limit=2**16)
    writer.write(HANDSHAKE.format(base64.b64encode(os.urandom(16)).decode()).encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return writer


def burst(organism: FakeOrganism, count: int, size: int) -> None:
    payload = b'{"name":"' + b"x" * size + b'"}'
    messages = [organism.append("t1", "console", "greeter", payload) for _ in range(count)]
    organism.happen(*(Event("message", message.seq, message) for message in messages))


async def test_a_client_that_never_reads_holds_up_nobody_and_is_cut_off(monkeypatch):
    monkeypatch.setattr("serve_app.client.STALL_S", 0.2)
    monkeypatch.setattr("serve_app.client.CLOSE_TIMEOUT_S", 0.1)
    organism, hubs = FakeOrganism(), []
    monkeypatch.setattr("serve_app.app.Hub", lambda: hubs.append(Hub()) or hubs[0])
    async with served(organism) as address:
        hub = hubs[0]
        deaf = await deaf_client(address)
        async with socket_to(address) as socket:
            await socket.hear("connected")
            for _ in range(20):
                burst(organism, 100, 10_000)
                assert (await end_of_burst(socket))["seq"] == len(organism.log)
            await until(lambda: len(hub) == 1)  # the one that reads
        deaf.transport.abort()


async def end_of_burst(socket: Socket) -> dict:
    """The last message of a burst."""
    while (event := await socket.hear("message"))["seq"] % 100:
        pass
    return event


async def test_a_slow_client_is_told_what_it_missed_and_can_fetch_it():
    organism = FakeOrganism(limits={"client_queue": 50})
    async with served(organism) as address:
        async with connect(f"ws://{address}/ws", max_queue=1, compression=None, max_size=None) as connection:
            socket = Socket(connection)
            await socket.hear("connected")
            for _ in range(30):
                burst(organism, 40, 20_000)
                await asyncio.sleep(0.01)
            heard: list[int] = []
            while not heard or heard[-1] < len(organism.log):
                event = await socket.hear("message", "lagged")
                if event["event"] == "message":
                    heard.append(event["seq"])
                else:
                    heard += range(event["from_seq"], event["to_seq"] + 1)
                    lagged = event
        assert heard == list(range(1, len(organism.log) + 1))
        assert lagged["from_seq"] <= lagged["to_seq"]
