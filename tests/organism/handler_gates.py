"""Where handlers of tests tell that they run, and wait until the test lets them go on. Both sides import this."""

from __future__ import annotations

import asyncio
from collections import Counter


class Gates:
    """passed: everything that handlers noted, in order. A gate is closed until it is opened, and open from then on."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.running: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}

    def reset(self) -> None:
        """Before each test: what an earlier one left is of another event loop."""
        self.__init__()

    def note(self, text: str) -> None:
        self.passed.append(text)

    async def at(self, gate: str) -> None:
        """Called by a handler: waits at the gate."""
        self.running[gate] += 1
        self.peaks[gate] = max(self.peaks[gate], self.running[gate])
        try:
            await self._gate(gate).wait()
        finally:
            self.running[gate] -= 1

    def open(self, gate: str) -> None:
        self._gate(gate).set()

    def close(self, gate: str) -> None:
        self._gate(gate).clear()

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())


gates = Gates()
