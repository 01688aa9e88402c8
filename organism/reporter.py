"""A cell's way back: outcomes gather while the last report is under way and go together in the next."""

from __future__ import annotations

import asyncio

from organism.wire import Outcome, PumpLink, Report


class Reporter:
    """`unreported` holds the seqs of outcomes that the pump has not committed yet."""

    def __init__(self, incarnation: str, pump: PumpLink) -> None:
        self.unreported: set[int] = set()
        self._incarnation = incarnation
        self._pump = pump
        self._outcomes: list[Outcome] = []
        self._waiting: dict[str, int] = {}
        self._changed: dict[str, int] = {}
        self._news = asyncio.Event()

    def add(self, outcome: Outcome) -> None:
        self.unreported.add(outcome.seq)
        self._outcomes.append(outcome)
        self._news.set()

    def wait_for_model(self, listener: str, change: int) -> None:
        """A handler of this listener began (+1) or ended (-1) to wait for a model."""
        count = self._waiting.get(listener, 0) + change
        self._waiting[listener] = self._changed[listener] = count
        self._news.set()

    async def run(self) -> None:
        """Reports until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            report = Report(self._incarnation, self._outcomes, self._changed)
            self._outcomes, self._changed = [], {}
            await self._pump.report(report)
            self.unreported.difference_update([outcome.seq for outcome in report.outcomes])
