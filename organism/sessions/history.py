"""What a session's events say to a model: a conversation in turns, each begun by its user."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

from organism.llm.base import ChatMessage, ToolCall
from organism.llm.reply import estimate_input_tokens
from organism.sessions.events import (
    AnyEvent,
    AssistantMessage,
    Content,
    EnvironmentInput,
    ToolResultEvent,
    UserMessage,
)

INTERRUPTED = "[the call was interrupted; it is not known whether it took effect]"
"""What the model is told of a call without a result."""


class History:
    """The turns so far. A turn is a user's message, what belongs to it, and all that the agent did about it."""

    def __init__(self) -> None:
        self._turns: list[list[ChatMessage]] = []

    def add(self, event: AnyEvent) -> None:
        """Takes up what concerns the model; all else is ignored."""
        if isinstance(event, UserMessage):
            self._turns.append([_users(event.content)])
        elif isinstance(event, EnvironmentInput):
            self._append(_users(event.content))
        elif isinstance(event, AssistantMessage):
            calls = tuple(ToolCall(each.id, each.name, each.arguments) for each in event.tool_calls or ())
            if event.content or calls:
                self._append(ChatMessage("assistant", event.content, calls))
        elif isinstance(event, ToolResultEvent):
            content = event.content if event.error is None else f"Error: {event.error}"
            self._append(ChatMessage("tool", text_of_result(content), tool_call_id=event.tool_call_id))

    def forget_last_turn(self) -> None:
        """For a run that was refused before anything of it was stored."""
        self._turns.pop()

    def messages(self, prompt: str, context_tokens: int) -> list[ChatMessage]:
        """The system prompt and as many of the newest turns as fit; the present one whole, in any case."""
        system = [ChatMessage("system", prompt)] if prompt else []
        room = context_tokens - estimate_input_tokens(system)
        kept: list[list[ChatMessage]] = []
        for turn in reversed(self._turns):
            whole = list(_answered(turn))
            room -= estimate_input_tokens(whole)
            if kept and room < 0:
                break
            kept.append(whole)
        return system + [message for turn in reversed(kept) for message in turn]

    def _append(self, message: ChatMessage) -> None:
        if not self._turns:  # the beginning was cut off when the session was loaded
            self._turns.append([])
        self._turns[-1].append(message)


def _answered(turn: list[ChatMessage]) -> Iterable[ChatMessage]:
    """The turn with a result for each call, right behind the message that made it, as the protocol demands."""
    for index, message in enumerate(turn):
        if message.role == "tool":
            continue
        yield message
        if message.tool_calls:
            # Only those that come before the model speaks again: some endpoints use the same ids in every reply.
            behind = itertools.takewhile(lambda each: each.role == "tool", turn[index + 1 :])
            results = {each.tool_call_id: each for each in behind}
            for call in message.tool_calls:
                yield results.get(call.id) or ChatMessage("tool", INTERRUPTED, tool_call_id=call.id)


def _users(content: Content) -> ChatMessage:
    parts = () if isinstance(content, str) else tuple(content)
    return ChatMessage("user", text_of(content), parts=parts)


def text_of(content: Content) -> str:
    """The text of a message; parts that are no text are named."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part.get("type") == "text" else f"[{part.get('type')}]" for part in content)


def text_of_result(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
