"""A listener's place in a cell: from a delivery to an outcome, with attempts, timeout and limits."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from organism.accepts import payload_types
from organism.config import Listener
from organism.errors import InvalidPayload
from organism.handlers import Completion, Context, HandlerResult, Reply, Send
from organism.loading import Loaded
from organism.masking import mask_text
from organism.messages import Message
from organism.payloads import serializer_for
from organism.wire import CellSpec, Delivery, Outcome, Output

CANCEL_GRACE_S = 5.0
"""How long a handler may go on after its timeout cancelled it; then its message fails without it."""

MAX_ERROR_CHARACTERS = 2_000
"""Of what an exception says: it goes into the dead letter, its thread and an event."""


class Complete(Protocol):
    """Asks a model for a seat; counts the tokens with `context.count_tokens`."""

    def __call__(
        self, seat: Seat, context: Context, message: str, options: dict[str, Any]
    ) -> Awaitable[Completion]: ...


@dataclass(slots=True, eq=False)
class _Run:
    """A message at work. is_timed_out: its present attempt was cancelled for taking too long."""

    delivery: Delivery
    task: asyncio.Task[Any]
    started_s: float
    attempt: int = 0
    deadline_s: float = 0.0
    is_timed_out: bool = False
    is_abandoned: bool = False
    tokens: int = 0


class Abandoned(NamedTuple):
    """A handler that does not end although it was cancelled, and the outcome of its message."""

    task: asyncio.Task[Any]
    outcome: Outcome


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
        self.timeout_s = listener.timeout_s or spec.handler_timeout_s
        self._history = history
        self._handler = loaded.handler
        self._types = payload_types(loaded, listener.name)
        self._spec = spec
        self._complete = complete
        self._attempts: dict[asyncio.Task[Any], _Run] = {}  # all share one timeout, so they stand by their deadlines

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
        task = asyncio.current_task()
        assert task is not None
        run = _Run(delivery, task, time.perf_counter(), tokens=delivery.tokens)
        error = ""
        delay_s = retry.delay_s
        for run.attempt in range(1, retry.attempts + 1):
            if run.attempt > 1:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, retry.max_delay_s)
            try:
                payload = self._payload(delivery.message)
            except Exception as problem:  # validators are user code; what is invalid now is so the next time
                error = str(problem) if isinstance(problem, InvalidPayload) else describe(problem)
                return self._failed(run, mask_text(error))
            outcome = await self._attempt(run, payload)
            if isinstance(outcome, Outcome):
                return outcome
            error = outcome
            if run.is_abandoned:
                break
        return self._failed(run, error)

    def cancel_overdue(self, now_s: float) -> None:
        """Cancels the handlers whose time is over; they count as failed when they end."""
        for run in self._attempts.values():
            if run.deadline_s > now_s:
                break
            if not run.is_timed_out:
                run.is_timed_out = True
                run.task.cancel()

    def abandon(self, now_s: float) -> list[Abandoned]:
        """The handlers that do not end although they were cancelled: from now on nobody waits for them."""
        error = f"{self._timed_out} and does not react to being cancelled"
        late = [run for run in self._attempts.values() if run.is_timed_out and run.deadline_s + CANCEL_GRACE_S < now_s]
        for run in late:
            run.is_abandoned = True
            del self._attempts[run.task]
        return [Abandoned(run.task, self._failed(run, error)) for run in late]

    @property
    def _timed_out(self) -> str:
        return f"handler timed out after {self.timeout_s:g} s"

    def _payload(self, message: Message) -> Any:
        payload_type = self._types.get(message.payload_type)
        if payload_type is None:
            raise InvalidPayload(self.listener.name, message.payload_type, (("", "not a type this handler takes"),))
        return payload_type.from_json(message.payload)

    async def _attempt(self, run: _Run, payload: Any) -> Outcome | str:
        """Runs the handler once; a text says why it failed."""
        task = run.task
        context = self._context(run)
        run.deadline_s = time.monotonic() + self.timeout_s
        self._attempts[task] = run
        try:
            return self._done(run, context, await self._handler(payload, context))
        except asyncio.CancelledError:
            if task.cancelling() > run.is_timed_out:
                raise  # from outside
            return self._timed_out if run.is_timed_out else "something that the handler awaited was cancelled"
        except (KeyboardInterrupt, GeneratorExit):
            raise  # the process or the coroutine ends, whatever the handler wants
        except BaseException as problem:  # user code: whatever it raises fails this message, not the cell
            return describe(problem)
        finally:
            self._attempts.pop(task, None)
            run.tokens = context.tokens
            if run.is_timed_out:
                run.is_timed_out = False
                task.uncancel()  # it has done its work; asyncio.timeout() in a later attempt must not see it

    def _context(self, run: _Run) -> Context:
        message, state_json, todos, _, others_tokens = run.delivery
        return Context(
            self,
            message.id,
            message.thread_id,
            message.slot_index,
            message.sender,
            self.listener.name,
            orjson.loads(state_json) if state_json else {},
            list(todos),
            run.tokens,
            others_tokens,
        )

    def _done(self, run: _Run, context: Context, result: HandlerResult) -> Outcome:
        delivery = run.delivery
        return Outcome(
            delivery.message.seq,
            self.listener.name,
            "done",
            self._outputs(result),
            None,
            run.attempt,
            time.perf_counter() - run.started_s,
            self._changed_state(delivery.state, context),
            tuple(context.added_todos),
            tuple(context.closed_todos),
            context.tokens - delivery.tokens,
        )

    def _failed(self, run: _Run, error: str) -> Outcome:
        seq, seconds = run.delivery.message.seq, time.perf_counter() - run.started_s
        tokens = run.tokens - run.delivery.tokens
        return Outcome(seq, self.listener.name, "failed", (), error, run.attempt, seconds, tokens=tokens)

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
        if item.to is None:
            return Output(None, kind.__name__, payload, False)
        if not isinstance(item.to, str):
            raise TypeError(f"Send(to=…) takes the name of a listener, not {type(item.to).__name__}")
        return Output(str.__str__(item.to), kind.__name__, payload, False)  # a plain str, also of a StrEnum's member

    def _changed_state(self, before: bytes | None, context: Context) -> bytes | None:
        if not isinstance(context.state, dict):
            raise TypeError(f"context.state must stay a dict, and is {type(context.state).__name__}")
        if not context.state and before is None:
            return None
        after = orjson.dumps(context.state)
        if len(after) > self._spec.max_state_bytes:
            limit = self._spec.max_state_bytes
            raise ValueError(f"the thread's state takes {len(after)} bytes; limits.max_state_bytes is {limit}")
        return None if after == before else after


def describe(error: BaseException) -> str:
    """An error in one line, with the place where it was raised, and without secrets: it enters the log."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    try:
        text = str(error)
    except BaseException:  # its __str__ is user code as well
        text = "it cannot say what happened"
    masked = mask_text(text[: 10 * MAX_ERROR_CHARACTERS])  # before it is cut: half a secret may not look like one
    shown = masked[:MAX_ERROR_CHARACTERS].encode(errors="backslashreplace").decode()  # half a character is no UTF-8
    return f"{type(error).__name__}: {shown}{place}"
