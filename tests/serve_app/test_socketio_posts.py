"""What may be posted to Socket.IO, and by whom: the library reads a body before anybody asks whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from test_stream_access import Place, place  # noqa: F401 - a fixture

from serve_app.login import MAX_AUTH_BYTES

PATH = "/socket.io/?EIO=4&transport=polling"


class Poller:
    """A connection of Engine.IO that polls."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def open(self) -> str:
        answer = await self.get()
        sid: str = orjson.loads(answer[1:])["sid"]
        self._url += f"&sid={sid}"
        return sid

    async def get(self) -> str:
        async with self._http.get(self._url) as answer:
            return await answer.text()

    async def post(self, body: bytes, is_chunked: bool = False) -> tuple[int, str]:
        """Status and text of the answer."""

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 10_000):
                yield body[start : start + 10_000]

        async with self._http.post(self._url, data=pieces() if is_chunked else body) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture
async def poller(place: Place, http: aiohttp.ClientSession) -> Poller:  # noqa: F811
    return Poller(http, f"http://{place.address}{PATH}")


def ping(size_bytes: int) -> bytes:
    return b'421["ping","%s"]' % (b"a" * (size_bytes - len(b'421["ping",""]')))


def connect(place: Place) -> bytes:  # noqa: F811
    return b"40" + orjson.dumps({"token": place.it.keys["operator"]})


async def begun(place: Place, sid: str, headers: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # noqa: F811
    """A POST of which only the beginning is sent."""
    host, _, port = place.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {PATH}&sid={sid} HTTP/1.1\r\nHost: {place.address}\r\n".encode() + headers + b"\r\n\r\n4")
    return reader, writer


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_who_has_not_said_who_he_is_has_a_small_body(poller, is_chunked):
    await poller.open()
    status, text = await poller.post(ping(MAX_AUTH_BYTES + 1), is_chunked)
    assert status == 413
    assert "16384 bytes" in text
    assert "CONNECT" in text
    assert (await poller.post(ping(MAX_AUTH_BYTES), is_chunked))[0] == 200


async def test_a_strangers_large_body_is_refused_before_it_comes(place, poller):  # noqa: F811
    reader, writer = await begun(place, await poller.open(), b"Content-Length: 2000000")
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


@pytest.mark.parametrize("length", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_not_waited_for(place, poller, length):  # noqa: F811
    live = place.it.app.state.replica.live
    live.api = live.api.model_copy(update={"request_timeout_s": 0.1})
    reader, writer = await begun(place, await poller.open(), length)
    assert b" 503 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_who_has_said_it_may_send_what_everybody_may(place, poller, is_chunked):  # noqa: F811
    live = place.it.app.state.replica.live
    live.limits = live.limits.model_copy(update={"max_body_bytes": 50_000})
    await poller.open()
    assert await poller.post(connect(place), is_chunked) == (200, "OK")
    assert (await poller.get()).startswith("40")
    assert await poller.post(ping(50_000), is_chunked) == (200, "OK")
    assert await poller.get() == "431[]"
    status, text = await poller.post(ping(50_001), is_chunked)
    assert status == 413
    assert "limits.max_body_bytes" in text


async def test_a_key_in_the_headers_says_it_too(place):  # noqa: F811
    async with aiohttp.ClientSession(headers={"x-api-key": place.it.keys["operator"]}) as http:
        poller = Poller(http, f"http://{place.address}{PATH}")
        await poller.open()
        assert await poller.post(ping(MAX_AUTH_BYTES + 1)) == (200, "OK")
