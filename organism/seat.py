"""A listener's place in a cell: from a delivery to an outcome, with attempts, timeout and limits."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson

from organism.accepts import payload_types
from organism.config import Listener
from organism.errors import InvalidPayload
from organism.handlers import Completion, Context, HandlerResult, Reply, Send
from organism.loading import Loaded
from organism.messages import Message
from organism.payloads import serializer_for
from organism.wire import CellSpec, Delivery, Outcome, Output

CANCEL_GRACE_S = 5.0
"""How long a handler may go on after its timeout cancelled it; then its message fails without it."""


class Complete(Protocol):
    """Asks a model for a seat; counts the tokens in `context.tokens`."""

    def __call__(
        self, seat: Seat, context: Context, message: str, options: dict[str, Any]
    ) -> Awaitable[Completion]: ...


class Seat:
    """Runs one listener's handler. `history` and `complete` are what its contexts may ask for."""

    def __init__(
        self,
        listener: Listener,
        loaded: Loaded,
        spec: CellSpec,
        history: Callable[[str, int, int], Awaitable[list[Message]]],
        complete: Complete,
    ) -> None:
        self.listener = listener
        self._history = history
        self.timeout_s = listener.timeout_s or spec.handler_timeout_s
        self._handler = loaded.handler
        self._types = payload_types(loaded, listener.name)
        self._spec = spec
        self._complete = complete
        self._deadlines_s: dict[int, float] = {}  # by seq; all share one timeout, so they stand in their order
        self._timed_out: set[int] = set()

    @property
    def accepts(self) -> tuple[str, ...]:
        """The payload types the handler takes."""
        return tuple(self._types)

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]:
        return await self._history(thread_id, until_slot, limit)

    async def complete(self, context: Context, message: str, options: dict[str, Any]) -> Completion:
        return await self._complete(self, context, message, options)

    async def handle(self, delivery: Delivery) -> Outcome:
        """Tries the handler as often as `retry` allows.

        Raises:
            asyncio.CancelledError: from outside (the thread was killed, the cell closes); there is no outcome then.
        """
        retry = self.listener.retry
        seq = delivery.message.seq
        started_s = time.perf_counter()
        delay_s = retry.delay_s
        error = ""
        for attempt in range(1, retry.attempts + 1):
            if attempt > 1:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, retry.max_delay_s)
            self._deadlines_s[seq] = time.monotonic() + self.timeout_s
            try:
                done = await self._attempt(delivery, attempt, started_s)
            except asyncio.CancelledError:
                if seq not in self._timed_out:
                    raise
                _uncancel()
                error = f"handler timed out after {self.timeout_s:g} s"
            except InvalidPayload as problem:
                return self._failed(delivery, str(problem), attempt, started_s)
            except (Exception, SystemExit) as problem:  # user code: whatever it raises fails this message, not the cell
                error = describe(problem)
            else:
                return done
            finally:
                self._deadlines_s.pop(seq, None)
                self._timed_out.discard(seq)
        return self._failed(delivery, error, retry.attempts, started_s)

    def overdue(self, now_s: float) -> list[int]:
        """The messages whose handlers must be cancelled now."""
        cancel: list[int] = []
        for seq, deadline_s in self._deadlines_s.items():
            if deadline_s > now_s:
                break
            if seq not in self._timed_out:
                self._timed_out.add(seq)
                cancel.append(seq)
        return cancel

    def abandoned(self, now_s: float) -> list[Outcome]:
        """Outcomes of handlers that do not end although they were cancelled."""
        late = [seq for seq in self._timed_out if self._deadlines_s.get(seq, now_s) + CANCEL_GRACE_S < now_s]
        for seq in late:
            del self._deadlines_s[seq]
        error = f"handler timed out after {self.timeout_s:g} s and does not react to being cancelled"
        return [Outcome(seq, self.listener.name, "failed", error=error) for seq in late]

    async def _attempt(self, delivery: Delivery, attempt: int, started_s: float) -> Outcome:
        message, state_json, todos, tokens = delivery
        payload_type = self._types.get(message.payload_type)
        if payload_type is None:
            raise InvalidPayload(self.listener.name, message.payload_type, (("", "not a type this handler takes"),))
        context = Context(
            self,
            message.id,
            message.thread_id,
            message.slot_index,
            message.sender,
            self.listener.name,
            orjson.loads(state_json) if state_json else {},
            list(todos),
            tokens,
        )
        result = await self._handler(payload_type.from_json(message.payload), context)
        return Outcome(
            message.seq,
            self.listener.name,
            "done",
            self._outputs(result),
            None,
            attempt,
            time.perf_counter() - started_s,
            self._changed_state(state_json, context),
            tuple(context.added_todos),
            tuple(context.closed_todos),
            context.tokens - tokens,
        )

    def _outputs(self, result: HandlerResult) -> tuple[Output, ...]:
        if result is None:
            return ()
        if not isinstance(result, list):
            return (self._output(result),)
        if len(result) > self._spec.max_outputs:
            raise ValueError(f"handler returned {len(result)} messages; limits.max_outputs is {self._spec.max_outputs}")
        return tuple([self._output(each) for each in result])

    def _output(self, item: Any) -> Output:
        if not isinstance(item, Send | Reply):
            raise TypeError(f"handler returned {type(item).__name__}; return Send, Reply, a list of them, or None")
        kind = type(item.payload)
        payload = serializer_for(kind)(item.payload)
        if len(payload) > self._spec.max_payload_bytes:
            limit = self._spec.max_payload_bytes
            raise ValueError(f"{kind.__name__} takes {len(payload)} bytes; limits.max_payload_bytes is {limit}")
        if isinstance(item, Reply):
            return Output(None, kind.__name__, payload, True)
        return Output(item.to, kind.__name__, payload, False)

    def _changed_state(self, before: bytes | None, context: Context) -> bytes | None:
        if not context.state and before is None:
            return None
        after = orjson.dumps(context.state)
        if len(after) > self._spec.max_state_bytes:
            limit = self._spec.max_state_bytes
            raise ValueError(f"the thread's state takes {len(after)} bytes; limits.max_state_bytes is {limit}")
        return None if after == before else after

    def _failed(self, delivery: Delivery, error: str, attempts: int, started_s: float) -> Outcome:
        seconds = time.perf_counter() - started_s
        return Outcome(delivery.message.seq, self.listener.name, "failed", (), error, attempts, seconds)


def _uncancel() -> None:
    """The timeout's cancellation has done its work; asyncio.timeout() in a later attempt must not see it."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def describe(error: BaseException) -> str:
    """An error in one line, with the place in user code where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
