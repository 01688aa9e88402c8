"""Any endpoint that speaks OpenAI's chat completions: OpenAI, xAI, Anthropic, Ollama, vLLM, Ray Serve LLM.

The openai SDK connects and reports errors; the event stream is read by ChatStream, at a quarter of the SDK's CPU time.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import httpx2
import openai

from organism.config import Backend
from organism.errors import ModelError
from organism.llm.base import (
    ChatMessage,
    ModelNotFound,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    StreamEvent,
    Tool,
)
from organism.llm.chat_stream import ChatStream, ErrorInStream, MalformedStream
from organism.llm.reply import estimate_input_tokens

MAX_CONNECT_TIMEOUT_S = 10.0
DRAIN_TIMEOUT_S = 0.25
"""How long to wait for the end of the body after the last event, so that the connection can be used again."""

MAX_REASON_CHARACTERS = 500
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]*)?")


class Endpoint(NamedTuple):
    """What we know of a provider by its name."""

    base_url: str
    api_key_env: str | None


ENDPOINTS: Mapping[str, Endpoint] = {
    "openai": Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "xai": Endpoint("https://api.x.ai/v1", "XAI_API_KEY"),
    "anthropic": Endpoint("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "ollama": Endpoint("http://localhost:11434/v1", None),
}


class OpenAiProvider:
    """One endpoint. The client is made when first used, as that reads certificates, and kept until `aclose`."""

    def __init__(self, name: str, backend: Backend, environ: Mapping[str, str]) -> None:
        self.name = name
        self._backend = backend
        self._base_url = backend.base_url or ENDPOINTS[backend.provider].base_url
        self._key_variable = _key_variable(backend)
        self._key = environ.get(self._key_variable, "").strip() if self._key_variable else ""
        self._client: openai.AsyncOpenAI | None = None

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> AsyncGenerator[StreamEvent]:
        """See Provider.stream."""
        client = self._open()
        asked_model = model or self._first_model()
        body = self._body(messages, tools, asked_model, temperature, max_tokens)
        reply = ChatStream()
        # As extra_body, since the SDK looks into every message of its own parameter: 20 ms of CPU for 100 of them.
        request = client.chat.completions.with_streaming_response.create(
            model=asked_model, messages=[], stream=True, extra_body=body, extra_headers=self._headers()
        )
        with self._translated_errors(reply):
            async with request as response:
                self._check_content_type(response.headers.get("content-type", ""))
                chunks = response.iter_bytes()
                async for data in chunks:
                    for delta in reply.feed(data):
                        yield delta
                    if reply.is_done:
                        await _drain(chunks)
                        break
                else:
                    for delta in reply.feed(b"\n"):  # a last line that has no end
                        yield delta
        yield self._final(reply, asked_model, messages, tools)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> openai.AsyncOpenAI:
        if self._client is None:
            self._check_settings()
            timeout_s = self._backend.timeout_s
            self._client = openai.AsyncOpenAI(
                api_key=self._key or "none",  # the SDK wants one, even where _headers keeps it from being sent
                base_url=self._base_url,
                timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, MAX_CONNECT_TIMEOUT_S)),
                max_retries=0,
            )
        return self._client

    def _headers(self) -> dict[str, Any]:
        # Else the SDK takes these from the process' environment and sends them to any endpoint.
        headers: dict[str, Any] = {"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
        return headers if self._key else {**headers, "Authorization": openai.omit}

    def _final(
        self, reply: ChatStream, asked_model: str, messages: Sequence[ChatMessage], tools: Sequence[Tool]
    ) -> StreamEvent:
        if not reply.is_complete:
            raise ModelProtocolError(self.name, "the reply broke off before its end")
        with self._translated_errors(reply):
            estimate = estimate_input_tokens(messages, tools)
            return reply.final(input_estimate=estimate, asked_model=asked_model, backend=self.name)

    def _check_settings(self) -> None:
        """Told when a model is asked for and not before: an organism also starts without a usable one."""
        if not _is_http_address(self._base_url):
            raise ModelRejected(self.name, None, "base_url is no http or https address; correct it in organism.yaml")
        if self._key_variable and not self._key:
            reason = f"environment variable {self._key_variable} is not set; put the key there, or in .env"
            raise ModelRejected(self.name, None, reason)
        if not (self._key.isascii() and self._key.isprintable()):
            reason = f"environment variable {self._key_variable} holds characters that no key has; copy the key again"
            raise ModelRejected(self.name, None, reason)

    def _first_model(self) -> str:
        if not self._backend.models:
            raise ModelNotFound(None, ())
        return self._backend.models[0]

    def _body(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool],
        model: str,
        temperature: float | None,
        max_tokens: int | None,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [_message_body(each) for each in messages],
            "stream_options": {"include_usage": True},
        }
        if tools:
            body["tools"] = [_tool_body(each) for each in tools]
        if temperature is not None:
            body["temperature"] = temperature
        if max_tokens is not None:
            # OpenAI's own newer models refuse the old name, most other endpoints know nothing else.
            is_openai = self._backend.provider == "openai" and self._backend.base_url is None
            body["max_completion_tokens" if is_openai else "max_tokens"] = max_tokens
        return body

    def _check_content_type(self, content_type: str) -> None:
        if "event-stream" not in content_type:
            reason = f"it answered {content_type or 'without a content type'}, not an event stream; check base_url"
            raise ModelProtocolError(self.name, reason)

    @contextmanager
    def _translated_errors(self, reply: ChatStream) -> Generator[None]:
        """Turns the SDK's and the connection's errors into ours; none after the reply is complete, it is whole then."""
        try:
            yield
        except MalformedStream as error:
            raise ModelProtocolError(self.name, self._shown(str(error))) from error
        except ErrorInStream as error:
            raise self._refusal(error.status or 500, error.message, {}) from None
        except openai.APIStatusError as error:
            # Without the cause, whose text may repeat the key.
            raise self._refusal(error.status_code, _reason(error), error.response.headers) from None
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            if not reply.is_complete:
                raise ModelTimeout(self.name, self._backend.timeout_s) from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise ModelUnavailable(self.name, f"cannot reach {_origin(self._base_url)}: {cause}") from error
        except openai.APIError as error:
            raise ModelProtocolError(self.name, self._shown(error.message)) from error
        except (httpx2.HTTPError, ssl.SSLError, anyio.EndOfStream) as error:
            if not reply.is_complete:
                raise ModelProtocolError(self.name, f"the reply broke off: {error or type(error).__name__}") from error

    def _refusal(self, status: int, reason: str, headers: Mapping[str, str]) -> ModelError:
        reason = self._shown(reason)
        if status == 429:
            return ModelRateLimited(self.name, reason, retry_after_s(headers, time()))
        if status >= 500 or status in (408, 409, 425):
            return ModelUnavailable(self.name, f"it failed ({status}): {reason}")
        return ModelRejected(self.name, status, reason)

    def _shown(self, text: str) -> str:
        """Text from outside made fit to be shown: without the key, and not endless."""
        text = text.replace(self._key, "***") if self._key else text
        return text if len(text) <= MAX_REASON_CHARACTERS else text[:MAX_REASON_CHARACTERS] + "…"


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """What a Retry-After header asks for, in seconds from `now_s` (Unix time); None without a usable one."""
    milliseconds, value = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    if NUMBER.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    if NUMBER.fullmatch(value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except ValueError:
        return None


def _key_variable(backend: Backend) -> str | None:
    """Which environment variable holds the key; a known provider's key is never sent to another base_url."""
    if backend.api_key_env or backend.base_url:
        return backend.api_key_env
    return ENDPOINTS[backend.provider].api_key_env


def _is_http_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number up to 65535, brackets that do not close
        return False


def _origin(url: str) -> str:
    """Scheme, host and port: what may be shown, as a name and password before the host may not."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def _drain(chunks: Any) -> None:
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            async for _ in chunks:
                pass
    except TimeoutError:
        return  # it keeps the stream open; leaving it closes this connection, the reply is whole


def _message_body(message: ChatMessage) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role, "content": list(message.parts) or message.content}
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
            for each in message.tool_calls
        ]
        body["content"] = message.content or None
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _tool_body(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _reason(error: openai.APIStatusError) -> str:
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return error.body["message"]
    return error.response.text.strip() or error.response.reason_phrase
