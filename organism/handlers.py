"""What the author of an agent uses: Payload, Context, Send and Reply.

class Greeting(Payload):
    name: str

async def greet(payload: Greeting, context: Context) -> Send:
    return Send(Shout(text=f"Hello {payload.name}!"), to="shouter")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from organism.messages import Message, new_id
from organism.threads import Todo

MAX_TODOS = 1000
"""Watchers that one listener may have in one thread."""


class Payload(BaseModel):
    """Base for payload classes. Any pydantic model or dataclass will do; this one also refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Send:
    """Sends `payload` on, to the listener `to`, or without it to every listener of the payload's class (broadcast).

    `to` must be one of the listener's peers, where it has any configured or is an agent.
    """

    payload: Any
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers whoever called; what was called in between is forgotten (the call chain is pruned)."""

    payload: Any


HandlerResult = Send | Reply | list[Send | Reply] | None


class SystemError(Payload):
    """Sent by the pump to a listener whose message could not be delivered. It tells nothing about the organism."""

    code: str
    message: str
    retry_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered. Token counts are the provider's."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int


class ContextServices(Protocol):
    """What a Context asks of the cell it runs in. Handlers do not see it."""

    async def complete(self, context: Context, message: str, options: dict[str, Any]) -> Completion: ...

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message]: ...


class Context:
    """Trustworthy facts about the message being handled, and what its handler may ask for.

    `state` is a dict of JSON values that this listener keeps for this thread: changes are stored together with the
    handler's outputs, or not at all. `message_id` is the same when a message is delivered again after a crash, so
    it can serve as an idempotency key towards the outside. `todos` are this listener's watchers in this thread,
    `tokens` what its model calls in this thread have used so far.
    """

    __slots__ = (
        "_others_tokens", "_services", "_slot_index", "_tokens", "added_todos", "closed_todos", "is_self_call",
        "message_id", "own_name", "sender", "state", "thread_id", "todos",
    )  # fmt: skip

    def __init__(
        self,
        services: ContextServices,
        message_id: str,
        thread_id: str,
        slot_index: int,
        sender: str,
        own_name: str,
        state: dict[str, Any],
        todos: list[Todo],
        tokens: int = 0,
        others_tokens: int = 0,
    ) -> None:
        self._services = services
        self._slot_index = slot_index
        self.message_id = message_id
        self.thread_id = thread_id
        self.sender = sender
        self.own_name = own_name
        self.is_self_call = sender == own_name
        self.state = state
        self.todos = todos
        self._tokens = tokens
        self._others_tokens = others_tokens
        self.added_todos: list[Todo] = []
        self.closed_todos: list[str] = []

    @property
    def tokens(self) -> int:
        return self._tokens

    @property
    def thread_tokens(self) -> int:
        """What all listeners' model calls in this thread have used, as far as is known here."""
        return self._tokens + self._others_tokens

    def count_tokens(self, used: int) -> None:
        """Called by the cell alone, after each answer of a model."""
        self._tokens += used

    async def history(self, limit: int = 100) -> list[Message]:
        """The thread's last `limit` messages up to and including this one, oldest first."""
        return await self._services.history(self.thread_id, self._slot_index, limit)

    async def complete(self, message: str, **options: Any) -> Completion:
        """Asks the model: the prompt comes from organism.yaml, peers' schemas, history and raised todos are added.

        Args:
            message: the user message.
            options: `model`, `temperature`, `max_tokens`, `history_limit`.

        Raises:
            ModelError: no model is configured, or none answered; the text says which and why.
        """
        return await self._services.complete(self, message, options)

    def todo(self, wait_for: type | str, from_listener: str | None = None, description: str = "") -> str:
        """Registers a watcher: it is raised when a payload of this type arrives in the thread; returns its id."""
        name = wait_for if isinstance(wait_for, str) else wait_for.__name__
        if len(self.todos) >= MAX_TODOS:
            raise ValueError(f"{self.own_name} has {MAX_TODOS} todos in this thread; close some first")
        watcher = Todo(new_id(), self.own_name, str(name), from_listener and str(from_listener), str(description))
        self.added_todos.append(watcher)
        self.todos.append(watcher)
        return watcher.id

    def close_todo(self, todo_id: str) -> None:
        """Takes a watcher away; no error if it is gone already."""
        self.closed_todos.append(str(todo_id))
        self.todos[:] = [each for each in self.todos if each.id != todo_id]

    @property
    def todo_nudge(self) -> str:
        """A reminder of the raised watchers that are not closed yet, for the model; empty when there are none."""
        raised = [each for each in self.todos if each.raised]
        if not raised:
            return ""
        lines = [f"- {each.id}: {each.wait_for} has arrived: {each.description}" for each in raised]
        return "These todos appear complete; close them when they are:\n" + "\n".join(lines)
