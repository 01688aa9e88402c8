"""One backend as the router sees it: its limits, its health and its counts around one provider."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from organism.config import Backend
from organism.errors import ModelError
from organism.llm.base import (
    ChatMessage,
    Final,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    Provider,
    StreamEvent,
    Tool,
)
from organism.llm.reply import estimate_input_tokens
from organism.llm.token_window import Spending, TokenWindow

EXPECTED_OUTPUT_TOKENS = 256
"""What a reply is taken to cost until it has ended, where max_tokens does not say."""

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class BackendStatus(NamedTuple):
    """A backend's counts since the router was made. `in_flight` includes calls that wait for its limits."""

    name: str
    models: tuple[str, ...]
    is_healthy: bool
    in_flight: int
    requests: int
    failures: int
    input_tokens: int
    output_tokens: int


class Lane:
    """Calls go through here in the order they came, no more at once, and no more tokens, than the backend allows."""

    def __init__(self, provider: Provider, backend: Backend, *, cool_down_s: float, clock: Clock, sleep: Sleep) -> None:
        self.name = provider.name
        self.models = backend.models
        self.needs_no_model = backend.provider == "scripted"
        self.provider = provider
        self.in_flight = 0
        self.last_turn = -1
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._sleep = sleep
        self._slots = asyncio.Semaphore(backend.max_concurrent or sys.maxsize)
        self._window = TokenWindow(backend.rate_limit_tpm)
        self._token_turn = asyncio.Lock()
        self._limited_until_s = 0.0
        self._unhealthy_until_s = 0.0
        self._requests = self._failures = self._input_tokens = self._output_tokens = 0

    def accepts(self, model: str | None) -> bool:
        """Whether the backend has this model; without `models` it takes any name, but then needs one."""
        if model is None:
            return bool(self.models) or self.needs_no_model
        return not self.models or model in self.models

    def is_healthy(self) -> bool:
        return self._clock() >= self._unhealthy_until_s

    def limited_s(self) -> float:
        """Seconds for which the endpoint asked to be left alone; 0 when it may be asked."""
        return max(0.0, self._limited_until_s - self._clock())

    def has_room(self, tokens: int) -> bool:
        """Whether a call of about `tokens` would start at once."""
        is_taken = self._slots.locked() or self._token_turn.locked()
        return not is_taken and self._window.wait_s(tokens, self._clock()) == 0

    def status(self) -> BackendStatus:
        return BackendStatus(
            self.name,
            self.models,
            self.is_healthy() and self.limited_s() == 0,
            self.in_flight,
            self._requests,
            self._failures,
            self._input_tokens,
            self._output_tokens,
        )

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool],
        *,
        model: str | None,
        temperature: float | None,
        max_tokens: int | None,
    ) -> AsyncGenerator[StreamEvent]:
        """See Provider.stream; waits for its turn first."""
        self.in_flight += 1
        try:
            async with self._slots:
                spending = await self._spend(estimate_tokens(messages, tools, max_tokens))
                self._requests += 1
                reply = self.provider.stream(
                    messages, tools, model=model, temperature=temperature, max_tokens=max_tokens
                )
                async with aclosing(reply) as events:
                    async for event in self._counted(events, spending):
                        yield event
        finally:
            self.in_flight -= 1

    async def _counted(self, events: AsyncGenerator[StreamEvent], spending: Spending) -> AsyncGenerator[StreamEvent]:
        has_begun = False
        try:
            async for event in events:
                has_begun = True
                if isinstance(event, Final):
                    self._succeeded(event, spending)
                yield event
        except ModelError as error:
            self._failed(error)
            if not has_begun:
                self._window.correct(spending, 0, self._clock())
            raise

    async def _spend(self, tokens: int) -> Spending:
        async with self._token_turn:
            while wait_s := self._window.wait_s(tokens, self._clock()):
                await self._sleep(wait_s)
            return self._window.spend(tokens, self._clock())

    def _succeeded(self, final: Final, spending: Spending) -> None:
        self._unhealthy_until_s = 0.0
        self._input_tokens += final.usage.input_tokens
        self._output_tokens += final.usage.output_tokens
        self._window.correct(spending, final.usage.total_tokens, self._clock())

    def _failed(self, error: ModelError) -> None:
        self._failures += 1
        if isinstance(error, ModelRateLimited) and error.retry_after_s is not None:
            self._limited_until_s = self._clock() + error.retry_after_s
        elif is_backends_fault(error):
            self._unhealthy_until_s = self._clock() + self._cool_down_s


def estimate_tokens(messages: Sequence[ChatMessage], tools: Sequence[Tool], max_tokens: int | None) -> int:
    """What a call is taken to cost before it is made."""
    return estimate_input_tokens(messages, tools) + (max_tokens or EXPECTED_OUTPUT_TOKENS)


def is_worth_repeating(error: ModelError) -> bool:
    """The same backend may answer the same request later."""
    return isinstance(error, ModelUnavailable | ModelTimeout | ModelRateLimited | ModelProtocolError)


def is_worth_another_backend(error: ModelError) -> bool:
    """Another backend may answer the same request."""
    return is_worth_repeating(error) or (isinstance(error, ModelRejected) and error.is_about_the_backend)


def is_backends_fault(error: ModelError) -> bool:
    """The next request would fail there as well; an unknown model (404) says nothing about other models."""
    return is_worth_another_backend(error) and not (isinstance(error, ModelRejected) and error.status == 404)
