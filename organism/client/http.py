"""HTTP below the client: one request, one stream of events, and every failure as one of client/errors.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import httpx
import orjson

from organism.client.address import is_address, may_use_proxy
from organism.client.credentials import Credentials, is_untrusted
from organism.client.errors import (
    KIND_OF_CODE,
    KIND_OF_STATUS,
    ApiError,
    CertificateRefused,
    ConnectionLost,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
)
from organism.client.events import Event, read_event
from organism.client.sse import SseReader

_CONNECT_TIMEOUT_S = 10.0
_MAX_SHOWN = 300  # characters of an answer that is none of ours

Batches = AsyncGenerator[list[Event]]
"""What each piece of a stream completes; an empty list is a sign of life."""


class Http:
    """The connections to one organism.

    timeout_s: of a request that does not wait for a run. idle_timeout_s: without a sign of life, also no heartbeat, a
    stream counts as broken. headers: over those of the credentials. Redirects are not followed, so that a key goes
    nowhere else.

    Raises:
        ValueError: this is no address, or the CA file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        idle_timeout_s: float,
        credentials: Credentials,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not is_address(url):
            raise ValueError(f"{url!r} is no address; give it as http://host:port")
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._http = httpx.AsyncClient(
            base_url=f"{self.url}/api/v1/",
            headers=_merged(credentials.headers, headers or {}),
            verify=credentials.verifies(self.url),
            trust_env=may_use_proxy(self.url),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **params: object) -> dict[str, Any]:
        """Asks once more where the connection broke: it changes nothing, and idle connections may be closed."""
        given = {name: value for name, value in params.items() if value is not None}
        try:
            return await self._call("GET", path, self._timeout_s, params=given)
        except ConnectionLost:
            return await self._call("GET", path, self._timeout_s, params=given)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("POST", path, self._timeout_s, json=_given(body))

    async def ask(
        self, path: str, body: Mapping[str, Any], *, timeout_s: float | None = None, **params: object
    ) -> dict[str, Any]:
        """A POST that may be repeated, as a search may: once more where the connection broke.

        timeout_s: None for the one of all requests, 0 waits for ever.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s or None
        try:
            return await self._call("POST", path, timeout_s, json=_given(body), params=params)
        except ConnectionLost:
            return await self._call("POST", path, timeout_s, json=_given(body), params=params)

    async def delete(self, path: str) -> dict[str, Any]:
        return await self._call("DELETE", path, self._timeout_s)

    async def post_and_wait(self, path: str, body: Mapping[str, Any], timeout_s: float | None) -> dict[str, Any]:
        """As `post`, for what takes as long as a run does; None waits for ever."""
        return await self._call("POST", path, timeout_s, json=_given(body))

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Batches]:
        """Events of a stream. Entering raises where the server refuses; reading raises where the connection breaks."""
        async with self._pieces(method, path, params, body) as pieces:

            async def batches() -> Batches:
                async for piece in pieces:
                    yield [event for event in map(read_event, piece) if event is not None]

            async with aclosing(batches()) as found:
                yield found

    @asynccontextmanager
    async def stream_documents(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncIterator[AsyncGenerator[dict[str, Any]]]:
        """As `stream`, for a POST whose events are no session's: each is one JSON object."""
        async with self._pieces("POST", path, None, body) as pieces:

            async def documents() -> AsyncGenerator[dict[str, Any]]:
                async for piece in pieces:
                    for each in piece:
                        yield self._document(each)

            async with aclosing(documents()) as found:
                yield found

    def _document(self, data: bytes) -> dict[str, Any]:
        try:
            document = orjson.loads(data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise UnexpectedAnswer(self.url, f"an event of the stream is no object: {data[:_MAX_SHOWN]!r}")
        return document

    @asynccontextmanager
    async def _pieces(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: Mapping[str, Any] | None
    ) -> AsyncIterator[AsyncGenerator[list[bytes]]]:
        timeout = httpx.Timeout(self._idle_timeout_s, connect=_CONNECT_TIMEOUT_S)
        json = None if body is None else _given(body)
        with self._client_errors(self._idle_timeout_s):
            request = self._http.build_request(method, path, params=params, json=json, timeout=timeout)
            response = await self._http.send(request, stream=True)
        try:
            await self._check_stream(response)
            async with aclosing(self._read(response)) as pieces:
                yield pieces
        finally:
            await response.aclose()

    async def _check_stream(self, response: httpx.Response) -> None:
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        if response.is_success and is_stream:
            return
        with self._client_errors(self._idle_timeout_s):
            await response.aread()
        raise UnexpectedAnswer(self.url, _shown(response)) if response.is_success else error_of(response)

    async def _read(self, response: httpx.Response) -> AsyncGenerator[list[bytes]]:
        reader = SseReader()
        with self._client_errors(self._idle_timeout_s):
            async for chunk in response.aiter_bytes():
                yield reader.feed(chunk)

    async def _call(self, method: str, path: str, timeout_s: float | None, **options: Any) -> dict[str, Any]:
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
        with self._client_errors(timeout_s or 0.0):
            response = await self._http.request(method, path, timeout=timeout, **options)
        if not response.is_success:
            raise error_of(response)
        try:
            answer = orjson.loads(response.content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise UnexpectedAnswer(self.url, _shown(response))
        return answer

    @contextmanager
    def _client_errors(self, timeout_s: float) -> Iterator[None]:
        """Turns the errors of httpx into ours, at the one place that knows it."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if is_untrusted(error):
                raise CertificateRefused(self.url, str(error)) from error
            raise Unreachable(self.url, str(error) or type(error).__name__) from error
        except httpx.TimeoutException as error:
            raise TimedOut(self.url, timeout_s) from error
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            raise ConnectionLost(self.url, str(error) or type(error).__name__) from error


def error_of(response: httpx.Response) -> ApiError:
    """The failure that the server tells; one of a proxy before it has its text as it is."""
    try:
        told = orjson.loads(response.content)
        error, code, details = told["error"], told.get("code", "http"), told.get("details")
        running_session_id = told.get("runningSessionId")
        if isinstance(error, dict):  # the shape of the routes that are none of a session's
            error, code, details = error["message"], error["code"], error.get("details")
    except (ValueError, KeyError, TypeError, AttributeError):
        error, code, details, running_session_id = _shown(response), "http", None, None
    kind = KIND_OF_CODE.get(str(code)) or KIND_OF_STATUS.get(response.status_code, ApiError)
    return kind(response.status_code, str(code), str(error), details, _retry_after_s(response), running_session_id)


def _shown(response: httpx.Response) -> str:
    request = response.request
    said = response.text.strip()[:_MAX_SHOWN] or response.reason_phrase
    return f"{request.method} {request.url.path} answered {response.status_code}: {said}"


def _retry_after_s(response: httpx.Response) -> float | None:
    """Only in seconds: the form with a date is not used by organisms."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() else None


def _merged(headers: Mapping[str, str], over: Mapping[str, str]) -> httpx.Headers:
    merged = httpx.Headers(headers)
    merged.update(over)
    return merged


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
