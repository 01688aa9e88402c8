"""What `context.complete()` does: builds the conversation a listener's model sees, asks, and answers a Completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import orjson

from organism.config import Listener
from organism.handlers import Completion
from organism.llm.base import BudgetExceeded, ChatMessage, Provider, answer
from organism.messages import Message

MAX_HISTORY_CHARACTERS = 200_000
"""Some 50,000 tokens: fits the models in use and leaves room for prompt and answer."""

RESPONSE_SEMANTICS = (
    "When you reply, your answer goes to whoever called you, and the call ends there: what you called in between is "
    "pruned and forgotten, and can not answer any more. So call the peers you need first, wait for what they answer, "
    "and reply when you have all of it."
)


class Peer(NamedTuple):
    """A listener that may be called: `schema` is the JSON Schema of its payload class."""

    name: str
    description: str
    schema: dict[str, Any]


class Budget(NamedTuple):
    """A limit in tokens and what was used of it so far; `scope` names it in the error, such as `thread`."""

    scope: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class CompletionOptions:
    """What a handler may choose. `model` None takes the listener's; `history_limit` counts messages."""

    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    history_limit: int = 100

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CompletionOptions:
        """The keyword arguments of `context.complete()`.

        Raises:
            TypeError: an option that does not exist.
            ValueError: one that cannot be so.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in options if name not in known]:
            raise TypeError(f"complete() has no option {unknown[0]!r}; there are {', '.join(known)}")
        chosen = cls(**options)
        if chosen.history_limit < 0:
            raise ValueError("complete(): history_limit must be 0 or more")
        if chosen.max_tokens is not None and chosen.max_tokens < 1:
            raise ValueError("complete(): max_tokens must be 1 or more")
        return chosen


async def complete(
    provider: Provider,
    listener: Listener,
    message: str,
    *,
    history: Sequence[Message] = (),
    peers: Sequence[Peer] = (),
    todo_nudge: str = "",
    budgets: Sequence[Budget] = (),
    options: CompletionOptions | None = None,
) -> Completion:
    """Asks the model for `listener`.

    Args:
        history: the thread so far, oldest first; only the latest `options.history_limit` are taken.
        budgets: what was used up to now; the call itself may go beyond, as nobody knows its tokens before.

    Raises:
        BudgetExceeded: a budget is used up; nothing was sent.
        ModelError: no backend answered.
    """
    for budget in budgets:
        if budget.used >= budget.limit:
            raise BudgetExceeded(budget.scope, budget.used, budget.limit)
    options = options or CompletionOptions()
    final = await answer(
        provider,
        conversation(listener, message, history, peers, todo_nudge, options.history_limit),
        model=options.model or listener.model,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
    )
    return Completion(final.text, final.model, final.usage.input_tokens, final.usage.output_tokens)


def conversation(
    listener: Listener,
    message: str,
    history: Sequence[Message],
    peers: Sequence[Peer],
    todo_nudge: str,
    history_limit: int,
) -> list[ChatMessage]:
    """All that the model is given: instructions, the thread as this listener saw it, and `message`."""
    latest = history[-history_limit:] if history_limit else ()
    past = recent([_as_chat(each, listener.name) for each in latest], MAX_HISTORY_CHARACTERS)
    return [ChatMessage("system", instructions(listener, peers, todo_nudge)), *past, ChatMessage("user", message)]


def instructions(listener: Listener, peers: Sequence[Peer], todo_nudge: str) -> str:
    """The system message: the prompt of organism.yaml, whom it may call and how, and what has arrived meanwhile."""
    parts = [listener.prompt.strip(), _peer_instructions(peers), RESPONSE_SEMANTICS, todo_nudge]
    return "\n\n".join(part for part in parts if part)


def recent(messages: Sequence[ChatMessage], max_characters: int) -> list[ChatMessage]:
    """As many of the latest messages as fit, whole ones, in order."""
    kept: list[ChatMessage] = []
    characters = 0
    for each in reversed(messages):
        characters += len(each.content)
        if characters > max_characters:
            break
        kept.append(each)
    return kept[::-1]


def _as_chat(message: Message, own_name: str) -> ChatMessage:
    """Own messages are what the assistant said. A payload is JSON in one line, so none can fake a sender's line."""
    payload = message.payload.decode()
    if message.sender == own_name:
        return ChatMessage("assistant", payload)
    return ChatMessage("user", f"[{message.payload_type} from {message.sender}]\n{payload}")


def _peer_instructions(peers: Sequence[Peer]) -> str:
    if not peers:
        return ""
    described = [
        f"## {peer.name}\n{peer.description.strip() or 'No description.'}\n"
        f"Takes JSON of this schema: {orjson.dumps(peer.schema).decode()}"
        for peer in peers
    ]
    return "\n\n".join(["# Peers you may call", *described])
