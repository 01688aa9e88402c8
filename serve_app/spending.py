"""Tokens that answers of the librarian cost whoever asks; those of sessions are counted by the pump."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import Scope

from serve_app.auth import principal_of
from serve_app.token_checks import payer_of


@asynccontextmanager
async def spending(scope: Scope) -> AsyncIterator[Callable[[int], None]]:
    """Gives a function that is told how many tokens were used; they are counted in the end.

    Raises:
        TokensSpent: today's are used up (auth.limits.tokens_per_day).
    """
    replica = scope["app"].state.replica
    owner, ref = payer_of(principal_of(scope)), replica.access.ref
    if ref is None or owner is None:
        yield lambda tokens: None
        return
    if replica.live.auth.limits.tokens_per_day is not None:
        await ref.check_tokens(owner)
    used: list[int] = []
    try:
        yield used.append
    finally:
        if total := sum(used):
            await ref.count_tokens(owner, total)
