"""Which model a session talks to: the router of the cell, or the one backend that the session's choice names."""

from __future__ import annotations

import asyncio
import os

from organism.config import LlmSection
from organism.llm.base import ModelNotFound, NoModelConfigured, Provider
from organism.llm.router import Router, backend_names
from organism.sessions.records import ModelChoice


class Models:
    """The routers of one cell, opened when they are first needed."""

    def __init__(self, config: LlmSection, environ: dict[str, str]) -> None:
        self._config = config
        self._environ = {**environ, **os.environ}
        self._routers: dict[str, Router] = {}
        self._opening = asyncio.Lock()

    async def provider(self, choice: ModelChoice | None) -> Provider:
        """Raises NoModelConfigured, ModelNotFound (there is no backend of that name)."""
        if not self._config.backends:
            raise NoModelConfigured
        name = choice.provider if choice is not None else ""
        if name not in self._routers:
            async with self._opening:
                if name not in self._routers:
                    # In a thread: the first one imports the client of the provider, which takes most of a second.
                    self._routers[name] = await asyncio.to_thread(self._open, name)
        return self._routers[name]

    async def close(self) -> None:
        for router in self._routers.values():
            await router.aclose()

    def _open(self, name: str) -> Router:
        if not name:
            return Router.from_config(self._config, self._environ)
        backends = dict(zip(backend_names(self._config.backends), self._config.backends, strict=True))
        if name not in backends:
            raise ModelNotFound(name, tuple(backends))
        return Router.from_config(self._config.model_copy(update={"backends": (backends[name],)}), self._environ)
