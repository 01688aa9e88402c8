"""What happens in a session, as a terminal shows it: text as it comes, thinking dimmed, each tool call on one line."""

from __future__ import annotations

import sys
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from organism.cli.output import printable
from organism.client import Event
from organism.sessions.events import (
    AgentRunEnd,
    AssistantMessage,
    AssistantStreamingMessage,
    AssistantStreamingThinkingMessage,
    AssistantThinkingMessage,
    Content,
    SystemEvent,
    ToolCallEvent,
    ToolResultEvent,
    UserMessage,
)

_MAX_SHOWN = 100  # characters of arguments and results

_LEVEL_STYLES = {"info": "dim", "warning": "yellow", "error": "red"}
_ENDINGS = {"aborted": "aborted", "error": "the run failed"}


class Conversation:
    """Prints events one after the other; deltas go on in the same line."""

    def __init__(self, *, shows_questions: bool = True) -> None:
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._shows_questions = shows_questions
        self._streamed: dict[str, str] = {}  # what was shown of each message that is not complete
        self._is_in_line = False
        self._calls: dict[str, Any] = {}

    def show(self, event: Event) -> None:
        match event:
            case UserMessage() if self._shows_questions:
                self._line(f"> {text_of(event.content)}", "bold")
            case AssistantStreamingMessage():
                self._grow(event.message_id, event.content, "")
            case AssistantStreamingThinkingMessage():
                self._grow(_thought(event.message_id), event.content, "dim italic")
            case AssistantMessage():
                self._complete(event.message_id, event.content, "")
            case AssistantThinkingMessage():
                self._complete(_thought(event.message_id), event.content, "dim italic")
            case ToolCallEvent():
                self._calls[event.tool_call_id] = event.arguments
            case ToolResultEvent():
                self._tool(event)
            case SystemEvent():
                self._line(event.message, _LEVEL_STYLES[event.level])
            case AgentRunEnd() if event.status in _ENDINGS:
                self._line(f"[{_ENDINGS[event.status]}]", "magenta")

    def end_line(self) -> None:
        if self._is_in_line:
            self._console.print()
            self._is_in_line = False

    def _grow(self, key: str, delta: str, style: str) -> None:
        if not self._streamed.get(key):
            self.end_line()
        self._streamed[key] = self._streamed.get(key, "") + delta
        self._console.print(printable(delta), style=style, end="", soft_wrap=True)
        self._is_in_line = True

    def _complete(self, key: str, content: str, style: str) -> None:
        """Shows what has not been: nothing, the rest, or all of it where deltas are missing in between."""
        streamed = self._streamed.pop(key, "")
        if streamed and content.startswith(streamed):
            self._console.print(printable(content[len(streamed) :]), style=style, end="", soft_wrap=True)
            self.end_line()
        elif content:
            self._line(content, style)

    def _tool(self, event: ToolResultEvent) -> None:
        arguments = _short(self._calls.pop(event.tool_call_id, ""))
        outcome = (_short(event.error), "red") if event.error else (_short(event.content), "dim")
        self._line(
            Text.assemble(
                (f"⚙ {printable(event.name)}", "cyan"), f" {arguments} → ", outcome, (f"  {event.elapsed_ms} ms", "dim")
            )
        )

    def _line(self, text: str | Text, style: str = "") -> None:
        self.end_line()
        self._console.print(printable(text) if isinstance(text, str) else text, style=style, soft_wrap=True)


def text_of(content: Content) -> str:
    """The text of a message; other parts by their type."""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text") or f"[{part.get('type')}]") for part in content)


def _thought(message_id: str) -> str:
    return f"thinking of {message_id}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    line = " ".join(printable(text).split())
    return line if len(line) <= _MAX_SHOWN else f"{line[: _MAX_SHOWN - 1]}…"
