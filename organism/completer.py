"""A cell's way to the models: one router for all its listeners, opened when the first of them asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from organism.config import Listener
from organism.handlers import Completion, Context
from organism.llm.base import NoModelConfigured
from organism.llm.completion import Budget, CompletionOptions, Peer, complete
from organism.llm.router import Router
from organism.loading import load_payload
from organism.wire import CellSpec


class Completer:
    """Does what `context.complete()` promises, with the budgets of the configuration."""

    def __init__(self, spec: CellSpec, folder: Path) -> None:
        self._spec = spec
        self._folder = folder
        self._router: Router | None = None
        self._peers: dict[str, list[Peer]] = {}

    async def complete(self, listener: Listener, context: Context, message: str, options: dict[str, Any]) -> Completion:
        chosen = CompletionOptions.of(options)
        if not self._spec.llm.backends:
            raise NoModelConfigured  # before anything is read for it
        history = await context.history(chosen.history_limit) if chosen.history_limit else []
        done = await complete(
            self._open(),
            listener,
            message,
            history=history,
            peers=self._peers_of(listener),
            todo_nudge=context.todo_nudge,
            budgets=self._budgets(listener, context),
            options=chosen,
        )
        context.count_tokens(done.input_tokens + done.output_tokens)
        return done

    async def close(self) -> None:
        if self._router is not None:
            await self._router.aclose()

    def _open(self) -> Router:
        if self._router is None:
            self._router = Router.from_config(self._spec.llm, {**self._spec.environ, **os.environ})
        return self._router

    def _peers_of(self, listener: Listener) -> list[Peer]:
        if listener.name not in self._peers:
            self._peers[listener.name] = [
                Peer(each.name, each.description, load_payload(each, self._folder).json_schema())
                for each in self._spec.peers[listener.name]
            ]
        return self._peers[listener.name]

    def _budgets(self, listener: Listener, context: Context) -> list[Budget]:
        limits = [
            (f"agent {listener.name!r} in this thread", context.tokens, listener.max_tokens_per_thread),
            ("this thread", context.thread_tokens, self._spec.max_tokens_per_thread),
        ]
        return [Budget(scope, used, limit) for scope, used, limit in limits if limit is not None]
