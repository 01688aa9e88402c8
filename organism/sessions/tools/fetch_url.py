"""fetch_url: a text from an allowed web host."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from organism.config import FetchUrl as FetchUrlSection
from organism.llm.base import Tool
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.html_text import html_text
from organism.sessions.tools.pinned_transport import PinnedTransport, Resolver, resolve
from organism.sessions.tools.public_addresses import AllowedHosts

MAX_REDIRECTS = 5
MAX_URL_CHARACTERS = 4000
_HEADERS = {"accept": "text/*, application/json;q=0.9", "accept-encoding": "identity", "user-agent": "organism"}
_TEXT_ENDINGS = ("json", "xml", "javascript", "yaml", "x-ndjson")


class FetchUrl:
    """`resolver` is a parameter for tests."""

    def __init__(self, section: FetchUrlSection, resolver: Resolver = resolve) -> None:
        self._section = section
        self._resolver = resolver
        self._allowed = AllowedHosts(section.allow_hosts)
        self._spec = Tool(
            "fetch_url",
            f"Gets a web page or a text by its URL; pages come as plain text. Hosts: {', '.join(section.allow_hosts)}.",
            {
                "type": "object",
                "properties": {"url": {"type": "string", "description": "http or https"}},
                "required": ["url"],
                "additionalProperties": False,
            },
        )

    @property
    def spec(self) -> Tool:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        try:
            async with asyncio.timeout(self._section.timeout_s):
                return await self._fetch(arguments["url"])
        except TimeoutError as error:
            raise ToolFailed(f"no answer within {self._section.timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise ToolFailed(f"cannot be fetched: {error or type(error).__name__}") from error

    async def _fetch(self, text: str) -> str:
        url = _parsed(text)
        transport = PinnedTransport(self._allowed, self._resolver)
        async with httpx.AsyncClient(transport=transport, trust_env=False, headers=_HEADERS, timeout=None) as client:
            for _ in range(MAX_REDIRECTS + 1):
                async with client.stream("GET", url) as response:
                    if not response.has_redirect_location:
                        return await self._text(response)
                    url = _joined(response)  # the transport checks it like the first
                client.cookies.clear()
        raise ToolFailed(f"redirected more than {MAX_REDIRECTS} times")

    async def _text(self, response: httpx.Response) -> str:
        kind = response.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
        if not (kind.startswith("text/") or kind.endswith(_TEXT_ENDINGS)):
            raise ToolFailed(f"it is {kind}, not text")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ToolFailed("the host sends it compressed, although asked not to")
        content = await self._content(response)
        text = content.decode(_charset(response), errors="replace")
        if kind in ("text/html", "application/xhtml+xml"):
            text = await asyncio.to_thread(html_text, text)
        if response.is_error:
            raise ToolFailed(f"the host answered {response.status_code}: {text[:2000]}")
        return text

    async def _content(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_raw(65536):
            content += chunk
            if len(content) > self._section.max_bytes:
                raise ToolFailed(f"it is larger than {self._section.max_bytes} bytes")
        return bytes(content)


def _parsed(text: str) -> httpx.URL:
    if len(text) > MAX_URL_CHARACTERS or not text.isascii() or not text.isprintable() or "\\" in text:
        raise ToolFailed("url is no plain URL: write it in ASCII, names of hosts in their xn-- form")
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise ToolFailed(f"url is no URL: {error}") from error
    if not url.host:
        raise ToolFailed("url is incomplete; it begins with https:// and a host")
    return url


def _joined(response: httpx.Response) -> httpx.URL:
    try:
        return response.url.join(response.headers["location"])
    except (httpx.InvalidURL, ValueError) as error:
        raise ToolFailed("it redirects to what is no URL") from error


def _charset(response: httpx.Response) -> str:
    charset = response.charset_encoding or "utf-8"
    try:
        "".encode(charset)
    except (LookupError, ValueError):
        return "utf-8"
    return charset
