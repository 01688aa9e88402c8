"""One model seam over many backends: chooses, retries, fails over and keeps their limits."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from organism.config import Backend, LlmSection
from organism.errors import ModelError
from organism.llm.base import (
    ChatMessage,
    ModelNotFound,
    ModelRateLimited,
    NoBackendAnswered,
    NoModelConfigured,
    Provider,
    StreamEvent,
    Tool,
)
from organism.llm.lane import (
    BackendStatus,
    Clock,
    Lane,
    Sleep,
    estimate_tokens,
    is_worth_another_backend,
    is_worth_repeating,
)
from organism.llm.scripted import ScriptedProvider

COOL_DOWN_S = 10.0
"""For how long a backend that failed is asked only after the others."""

MAX_PAUSE_S = 60.0
"""The longest wait before a retry; an endpoint that asks for more is reported as rate limited instead."""


class Router:
    """A Provider over several.

    A call is tried in rounds: each backend that has the model once, in the order of the strategy, those that would
    have to wait for their limits last. After a round without an answer comes a pause, and another round, `retries`
    times. Once a delta was given out, a failure is the caller's: an answer is never begun twice.
    """

    name = "router"

    def __init__(
        self,
        config: LlmSection,
        providers: Sequence[Provider],
        *,
        cool_down_s: float = COOL_DOWN_S,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`providers` belong to `config.backends` one to one. `jitter` gives numbers from 0 up to 1."""
        self._config = config
        self._sleep = sleep
        self._jitter = jitter
        self._turns = itertools.count()
        self._lanes = [
            Lane(provider, backend, cool_down_s=cool_down_s, clock=clock, sleep=sleep)
            for provider, backend in zip(providers, config.backends, strict=True)
        ]

    @classmethod
    def from_config(cls, config: LlmSection, environ: Mapping[str, str]) -> Router:
        """The router of an organism.yaml; `environ` holds the keys. Nothing is connected yet, nothing can fail."""
        names = backend_names(config.backends)
        providers = [provider_for(name, backend, environ) for name, backend in zip(names, config.backends, strict=True)]
        return cls(config, providers)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that backends list, each once; a backend without a list takes any name besides."""
        return tuple(dict.fromkeys(model for lane in self._lanes for model in lane.models))

    def check(self, model: str | None) -> None:
        """Whether a backend takes this model; nothing is asked of any.

        Raises:
            NoModelConfigured, ModelNotFound
        """
        self._lanes_with(model, backend=None)

    def status(self) -> list[BackendStatus]:
        """Health and counts of each backend, in the order of the configuration."""
        return [lane.status() for lane in self._lanes]

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        backend: str | None = None,
    ) -> AsyncGenerator[StreamEvent]:
        """See Provider.stream. `backend` names the only one that may be asked.

        Raises:
            NoModelConfigured, ModelNotFound: nobody to ask.
            ModelError: of the only backend; NoBackendAnswered when there were several.
        """
        lanes = self._lanes_with(model, backend)
        tokens = estimate_tokens(messages, tools, max_tokens)
        failures: dict[str, ModelError] = {}
        for round_number in range(self._config.retries + 1):
            await self._pause_before(round_number, lanes)
            for lane in self._in_order(lanes, tokens):
                has_begun = False
                lane.last_turn = next(self._turns)
                reply = lane.stream(messages, tools, model=model, temperature=temperature, max_tokens=max_tokens)
                try:
                    async with aclosing(reply) as events:
                        async for event in events:
                            has_begun = True
                            yield event
                    return
                except ModelError as error:
                    if has_begun or not is_worth_another_backend(error):
                        raise
                    failures[lane.name] = error
            lanes = [lane for lane in lanes if lane.name not in failures or is_worth_repeating(failures[lane.name])]
            if not lanes:
                break
        raise _outcome(failures)

    async def aclose(self) -> None:
        """Closes every provider's connections."""
        for lane in self._lanes:
            await lane.provider.aclose()

    def _lanes_with(self, model: str | None, backend: str | None) -> list[Lane]:
        if not self._lanes:
            raise NoModelConfigured
        named = [lane for lane in self._lanes if backend is None or lane.name == backend]
        lanes = [lane for lane in named if lane.accepts(model)]
        if not lanes:
            raise ModelNotFound(model if backend is None else f"{backend}: {model}", self.models)
        return lanes

    def _in_order(self, lanes: list[Lane], tokens: int) -> list[Lane]:
        """Whom to ask in this round: a backend that is cooling down only when all others have failed."""
        chosen = [lane for lane in lanes if lane.limited_s() == 0]
        if self._config.strategy == "round-robin":
            chosen.sort(key=lambda lane: lane.last_turn)
        elif self._config.strategy == "least-loaded":
            chosen.sort(key=lambda lane: (lane.in_flight, lane.last_turn))
        return sorted(chosen, key=lambda lane: (not lane.is_healthy(), not lane.has_room(tokens)))

    async def _pause_before(self, round_number: int, lanes: list[Lane]) -> None:
        """Waits out the delay of a retry, and until one backend at least may be asked again."""
        if round_number:
            delay_s = self._config.retry_delay_s * 2 ** (round_number - 1) * (1 + self._jitter()) / 2
            await self._sleep(min(delay_s, MAX_PAUSE_S))
        while wait_s := min(lane.limited_s() for lane in lanes):
            if wait_s > MAX_PAUSE_S:
                names = ", ".join(lane.name for lane in lanes)
                raise ModelRateLimited(names, "the endpoint asked to wait", wait_s)
            # Not all at the same moment: many calls may wait for this.
            await self._sleep(wait_s * (1 + self._jitter() / 10))


def provider_for(name: str, backend: Backend, environ: Mapping[str, str]) -> Provider:
    """The provider that a backend's section asks for."""
    if backend.provider == "scripted":
        return ScriptedProvider(name, backend.replies)
    # Here and not above, because the SDK takes most of a second to import and most cells have no model.
    from organism.llm.openai import OpenAiProvider

    return OpenAiProvider(name, backend, environ)


def backend_names(backends: Sequence[Backend]) -> list[str]:
    """A name for each: its own or its provider's, with a number where that is taken."""
    names: list[str] = []
    for backend in backends:
        wanted = backend.name or backend.provider
        numbered = (f"{wanted}-{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([wanted], numbered) if name not in names))
    return names


def _outcome(failures: dict[str, ModelError]) -> ModelError:
    if len(failures) == 1:
        return next(iter(failures.values()))
    return NoBackendAnswered(tuple(str(error) for error in failures.values()))
