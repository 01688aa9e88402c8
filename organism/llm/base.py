"""The LLM seam: what is said to a model, what comes back, and what may go wrong.

A provider streams one reply: any number of deltas, then one `Final`. It does not retry; the router does.
The Router is a Provider itself, over several of them.

ModelError
├── NoModelConfigured   organism.yaml names no backend
├── ModelNotFound       no backend offers the model asked for
├── ModelUnavailable    cannot connect, or the endpoint failed (5xx)
├── ModelTimeout        nothing came for timeout_s
├── ModelRateLimited    429; retry_after_s says when to come back
├── ModelRejected       the endpoint refuses the request or the key (4xx)
├── ModelProtocolError  the reply is malformed or broke off
├── NoBackendAnswered   several backends were tried, each failed in its own way
└── BudgetExceeded      the tokens of this scope are used up
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from organism.errors import ModelError

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call as the model wrote it. `arguments` is JSON by intent; models make mistakes, so parse with care."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message to a model. `tool_calls` only from the assistant; `tool_call_id` only with role tool.

    parts: content parts as OpenAI has them (`text`, `image_url`), sent instead of `content`, which is their text.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    parts: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the model may call; `schema` is the JSON Schema of its arguments, an object."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `estimated` when the endpoint did not say and we counted characters."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """The next piece of the model's reasoning, where the endpoint shows it."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of tool call number `index` (0-based): id and name come first, arguments piece by piece."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Final:
    """The whole reply, the last thing in every stream.

    finish_reason: `stop`, `tool_calls`, `length` (max_tokens reached), `content_filter`, or what the endpoint said.
    model: the name the endpoint gave. backend: which backend answered.
    """

    text: str
    thinking: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    usage: Usage
    model: str
    backend: str = ""


Delta = TextDelta | ThinkingDelta | ToolCallDelta
StreamEvent = Delta | Final


class Provider(Protocol):
    """One place that answers. All providers pass tests/contracts/test_llm.py."""

    @property
    def name(self) -> str:
        """The backend's name, for errors and counts."""
        ...

    def stream(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> AsyncGenerator[StreamEvent]:
        """Streams one reply: deltas, then a Final. Closing the generator, or cancelling, ends the request.

        `model` None takes the backend's first. None elsewhere leaves the choice to the endpoint.

        Raises:
            ModelError: see the top of this file; a break after the first delta is an error too.
        """
        ...

    async def aclose(self) -> None:
        """Closes connections. Safe to call twice."""
        ...


async def answer(
    provider: Provider,
    messages: Sequence[ChatMessage],
    tools: Sequence[Tool] = (),
    *,
    model: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> Final:
    """The whole reply at once, for callers who do not show it while it grows."""
    reply = provider.stream(messages, tools, model=model, temperature=temperature, max_tokens=max_tokens)
    async with aclosing(reply) as events:
        async for event in events:
            if isinstance(event, Final):
                return event
    raise ModelProtocolError(provider.name, "the stream ended without a final message")


class NoModelConfigured(ModelError):
    """organism.yaml names no backend."""

    code = "no_model_configured"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return (
            "no model is configured; add one to organism.yaml, for example\n"
            "llm:\n"
            "  backends:\n"
            "    - {provider: openai, api_key_env: OPENAI_API_KEY, models: [gpt-5-mini]}\n"
            "or, for a model on this machine, {provider: ollama, models: [qwen3]}; then reload"
        )


class ModelNotFound(ModelError):
    """No backend offers this model; `model` is None when none was named and no backend lists one to take."""

    code = "model_not_found"

    def __init__(self, model: str | None, available: tuple[str, ...]) -> None:
        super().__init__(model, available)
        self.model = model
        self.available = available

    def __str__(self) -> str:
        if self.model is None:
            return "no model is named; list some under llm.backends.*.models, the first is the default"
        listed = ", ".join(self.available) or "none"
        return f"no backend has a model {self.model!r}; there are: {listed}. Add it to llm.backends.*.models"


class BackendError(ModelError):
    """One backend failed; base of the errors that name it."""

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, reason)
        self.backend = backend
        self.reason = reason

    def __str__(self) -> str:
        return f"model backend {self.backend!r}: {self.reason}"


class ModelUnavailable(BackendError):
    """The endpoint cannot be reached, or failed (5xx); it may work later."""

    code = "model_unavailable"


class ModelProtocolError(BackendError):
    """The reply is not what the protocol says, or broke off in the middle."""

    code = "model_protocol"


class ModelTimeout(ModelError):
    """No byte of the reply came for `timeout_s`."""

    code = "model_timeout"

    def __init__(self, backend: str, timeout_s: float) -> None:
        super().__init__(backend, timeout_s)
        self.backend = backend
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return (
            f"model backend {self.backend!r}: nothing came for {self.timeout_s:g} s; "
            "is it overloaded? Its timeout_s in organism.yaml may be raised"
        )


class ModelRateLimited(ModelError):
    """The endpoint wants fewer requests (429). `retry_after_s` is None where it did not say how long to wait."""

    code = "model_rate_limited"

    def __init__(self, backend: str, reason: str, retry_after_s: float | None) -> None:
        super().__init__(backend, reason, retry_after_s)
        self.backend = backend
        self.reason = reason
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        when = "later" if self.retry_after_s is None else f"in {self.retry_after_s:g} s"
        return f"model backend {self.backend!r}: rate limit reached: {self.reason}; try again {when}"


class ModelRejected(ModelError):
    """The endpoint refuses the request or the key. `status` is HTTP's, None when nothing was sent."""

    code = "model_rejected"

    def __init__(self, backend: str, status: int | None, reason: str) -> None:
        super().__init__(backend, status, reason)
        self.backend = backend
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        status = "" if self.status is None else f" ({self.status})"
        return f"model backend {self.backend!r}: request refused{status}: {self.reason}"

    @property
    def is_about_the_backend(self) -> bool:
        """Key, account or model are wrong here: another backend may well take the same request."""
        return self.status in (None, 401, 402, 403, 404)


class NoBackendAnswered(ModelError):
    """Several backends were tried and none answered; `reasons` has the text of each."""

    code = "model_unavailable"

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return "no model backend answered: " + "; ".join(self.reasons)


class BudgetExceeded(ModelError):
    """The tokens of `scope` (such as `thread` or an agent in it) are used up; `used` and `limit` in tokens."""

    code = "budget_exceeded"

    def __init__(self, scope: str, used: int, limit: int) -> None:
        super().__init__(scope, used, limit)
        self.scope = scope
        self.used = used
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"token budget of {self.scope} is used up ({self.used} of {self.limit}); "
            "begin anew, or raise the limit in organism.yaml (max_tokens_per_thread, _per_run or _per_session)"
        )
