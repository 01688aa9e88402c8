"""Which model a session talks to: the router of the cell, or the one backend of it that the session's choice names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence

from organism.config import LlmSection
from organism.llm.base import ChatMessage, NoModelConfigured, Provider, StreamEvent, Tool
from organism.llm.router import Router
from organism.sessions.records import ModelChoice


class Models:
    """The router of one cell, opened when it is first needed."""

    def __init__(self, config: LlmSection, environ: dict[str, str]) -> None:
        self._config = config
        self._environ = {**environ, **os.environ}
        self._router: Router | None = None
        self._opening = asyncio.Lock()

    async def provider(self, choice: ModelChoice | None) -> Provider:
        """Raises NoModelConfigured."""
        if not self._config.backends:
            raise NoModelConfigured
        router = self._router or await self._open()
        return OneBackend(router, choice.provider) if choice is not None and choice.provider else router

    async def close(self) -> None:
        if self._router is not None:
            await self._router.aclose()

    async def _open(self) -> Router:
        async with self._opening:
            if self._router is None:
                # In a thread: it imports the client of the provider, which takes most of a second.
                self._router = await asyncio.to_thread(Router.from_config, self._config, self._environ)
            return self._router


class OneBackend:
    """A Provider: one backend of a router, whose limits hold for all who ask it."""

    def __init__(self, router: Router, name: str) -> None:
        self.name = name
        self._router = router

    def stream(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool] = (),
        *,
        model: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> AsyncGenerator[StreamEvent]:
        """See Provider.stream."""
        return self._router.stream(
            messages, tools, model=model, temperature=temperature, max_tokens=max_tokens, backend=self.name
        )

    async def aclose(self) -> None:
        """Closes nothing: the connections are the router's."""
