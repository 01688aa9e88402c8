"""A fake of what counts the tokens of principals, and organisms that count with it."""

from __future__ import annotations

import asyncio

import pytest

from organism import runtime as runtime_module
from organism.access.tally import Tally
from organism.errors import StorageUnavailable, TokensSpent


class Purse:
    """Implements Spending; `most` tokens for each owner. down: what every call raises. counts: how many there were."""

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.used: dict[str, int] = {}
        self.checks = 0
        self.counts = 0
        self.down: StorageUnavailable | None = None

    async def check_tokens(self, owner: str) -> None:
        self.checks += 1
        await self._reach()
        if self.used.get(owner, 0) >= self.most:
            raise TokensSpent(self.most, 60.0)

    async def count_tokens(self, owner: str, tokens: int) -> None:
        await self._reach()
        self.counts += 1
        self.used[owner] = self.used.get(owner, 0) + tokens

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.down is not None:
            raise self.down


def purse_of_organisms(monkeypatch: pytest.MonkeyPatch) -> Purse:
    """What organisms of the test count tokens with."""
    purse = Purse()
    monkeypatch.setattr(runtime_module, "Tally", lambda _, tasks: Tally(purse, tasks))
    return purse
