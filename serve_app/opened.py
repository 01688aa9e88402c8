"""Something that is opened when it is first needed, by whoever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Opened(Generic[T]):
    """Opened once for all who ask at the same time; one that could not be opened is tried again for who asks next."""

    def __init__(self, open_it: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._open_it = open_it
        self._opening: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Raises what opening it raises."""
        if self._opening is None or (self._opening.done() and self._failed(self._opening)):
            self._opening = asyncio.create_task(self._open_it(), name="open")
        return await asyncio.shield(self._opening)  # whoever asked may leave: others wait, too

    def _failed(self, opening: asyncio.Task[T]) -> bool:
        return opening.cancelled() or opening.exception() is not None
