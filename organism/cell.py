"""A cell: hosts listeners, runs their handlers, reports what became of each message. Plain asyncio.

It starts what it is given at once: how much that is, and in what order, is the pump's business. What it was given
twice (a pump that came back delivers all that is not done) it does once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from organism.bundle import unpack
from organism.completer import Completer
from organism.handlers import Completion, Context
from organism.loading import load_listener
from organism.reporter import Reporter
from organism.seat import Seat
from organism.tasks import Tasks
from organism.wire import Attached, CellSpec, Delivery, PumpLink

logger = logging.getLogger(__name__)

TIMEOUT_RESOLUTION_S = 0.05
CLOSE_TIMEOUT_S = 1.0
"""How long a closing cell waits for handlers that it has cancelled; whoever ignores that ends with the process."""


class Cell:
    """Runs the handlers of `spec.listeners`.

    Constructing it imports user code: raises HandlerNotLoaded when that fails. on_failure: told of an error after
    which the cell is of no use any more.
    """

    def __init__(
        self, spec: CellSpec, pump: PumpLink, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        self.spec = spec
        folder = unpack(spec.bundle, spec.bundle_digest)
        self._completer = Completer(spec, folder)
        self._seats = {
            each.name: Seat(each, load_listener(each, folder), spec, pump.history, self._complete)
            for each in spec.listeners
        }
        self._reporter = Reporter(spec.incarnation, pump)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._background = Tasks(on_failure or _log_failure)

    def __repr__(self) -> str:
        return f"Cell({self.spec.name})"

    def start(self) -> None:
        """Begins to report and to watch timeouts; wants a running event loop."""
        self._background.spawn(self._reporter.run(), "reporter")
        self._background.spawn(self._watch_timeouts(), "timeouts")

    async def close(self) -> None:
        """Cancels what runs: it stays undone in the log and is delivered again some day."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
        await self._background.close()
        await self._completer.close()

    def attach(self) -> Attached:
        accepts = {name: seat.accepts for name, seat in self._seats.items()}
        return Attached(self.spec.incarnation, self.spec.definition, accepts, os.getpid())

    def deliver(self, batch: list[Delivery]) -> None:
        """Starts the handlers of all messages that are not here already."""
        tasks = self._tasks
        unreported = self._reporter.unreported
        for delivery in batch:
            message = delivery.message
            if message.seq not in tasks and message.seq not in unreported:
                tasks[message.seq] = asyncio.create_task(self._handle(self._seats[message.recipient], delivery))

    def cancel(self, seqs: list[int]) -> None:
        """Cancels handlers whose thread was killed; nothing is reported of them."""
        for seq in seqs:
            task = self._tasks.pop(seq, None)  # here, since one that has not begun yet will never do it
            if task is not None:
                task.cancel()

    async def _handle(self, seat: Seat, delivery: Delivery) -> None:
        task = asyncio.current_task()
        try:
            outcome = await seat.handle(delivery)
        finally:
            is_awaited = self._forget(delivery.message.seq, task)
        if is_awaited:
            self._reporter.add(outcome)

    def _forget(self, seq: int, task: asyncio.Task[Any] | None) -> bool:
        """Whether this task still was the one that works on the message: not if it was cancelled or abandoned."""
        if self._tasks.get(seq) is not task:
            return False
        del self._tasks[seq]
        return True

    async def _complete(self, seat: Seat, context: Context, message: str, options: dict[str, Any]) -> Completion:
        self._reporter.wait_for_model(seat.listener.name, +1)
        try:
            return await self._completer.complete(seat.listener, context, message, options)
        finally:
            self._reporter.wait_for_model(seat.listener.name, -1)

    async def _watch_timeouts(self) -> None:
        """One task looks after all deadlines: a timer for each message would cost more than most handlers."""
        while True:
            await asyncio.sleep(TIMEOUT_RESOLUTION_S)
            now_s = time.monotonic()
            for seat in self._seats.values():
                seat.cancel_overdue(now_s)
                for task, outcome in seat.abandon(now_s):
                    if self._forget(outcome.seq, task):
                        self._reporter.add(outcome)


def _log_failure(error: BaseException) -> None:
    logger.critical("a task of a cell failed", exc_info=error)
