"""What the command line prints. Results go to stdout, everything else to stderr; with --json stdout holds JSON only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from organism.cli.failures import CliFailure
from organism.masking import mask_text

_PIPED_WIDTH = 200  # columns of a table that nobody's terminal bounds
_UNPRINTABLE = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "�")
del _UNPRINTABLE[ord("\n")], _UNPRINTABLE[ord("\t")]

STATE_STYLES = {
    "idle": "green",
    "processing": "yellow",
    "waiting": "cyan",
    "error": "bold red",
    "running": "green",
    "active": "yellow",
    "completed": "green",
    "killed": "magenta",
    "stopping": "magenta",
}


def printable(text: object) -> str:
    """The text without control characters: what agents send must not steer the terminal."""
    return str(text).translate(_UNPRINTABLE)


def styled_state(state: object) -> Text:
    return Text(printable(state), style=STATE_STYLES.get(str(state), ""))


def clock(timestamp: str) -> str:
    """The local time of day of an API timestamp, to the millisecond."""
    return datetime.fromisoformat(timestamp).astimezone().strftime("%H:%M:%S.%f")[:-3]


def age(timestamp: str | None) -> str:
    """How long ago an API timestamp was, in its largest unit; a dash for None."""
    if timestamp is None:
        return "–"
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())
    return f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """Seconds in their largest whole unit, as `42 s`, `7 min`, `3 h`, `2 d`."""
    for unit, size_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{int(seconds)} s"


def counted(number: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def message_line(message: dict[str, Any]) -> Text:
    """One message of the API on one line."""
    payload = orjson.dumps(message["payload"]).decode()
    line = Text.assemble(
        (clock(message["timestamp"]), "dim"),
        "  ",
        (printable(message["from"]), "cyan"),
        " → ",
        (printable(message["to"]), "cyan"),
        "  ",
        (printable(message["payload_type"]), "bold"),
        " ",
        printable(payload),
    )
    if fate := message.get("fate"):
        line.append(f"  [{printable(fate)}]", style="red")
    return line


class Screen:
    """Where one command prints to, as JSON or for people."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() else _PIPED_WIDTH
        self._out = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
        self._err = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)

    def json(self, document: Any) -> None:
        """One JSON document on one line, at once: the reader may be a pipe."""
        sys.stdout.write(orjson.dumps(document).decode() + "\n")
        sys.stdout.flush()

    def line(self, text: str | Text, style: str = "") -> None:
        """A line of the result; long ones are left to the terminal to wrap, so that they can be copied."""
        self._out.print(text, style=style, soft_wrap=True)

    def notice(self, text: str) -> None:
        """Something to know beside the result."""
        self._err.print(printable(text), style="dim", soft_wrap=True)

    def warning(self, text: str) -> None:
        """What should not stay as it is, though nothing has failed."""
        self._err.print(printable(f"warning: {text}"), style="bold yellow", soft_wrap=True)

    def working(self, text: str) -> AbstractContextManager[object]:
        """A progress line while something takes time; nothing where no terminal shows it."""
        # Rich takes FORCE_COLOR, which notebooks and CI servers set, for a terminal.
        return self._err.status(printable(text)) if sys.stderr.isatty() else nullcontext()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table; columns that start with `#` hold numbers, the first column is never cut."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, column in enumerate(columns):
            right = column.startswith("#")
            table.add_column(column.lstrip("#"), justify="right" if right else "left", no_wrap=right or index == 0)
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
        self._out.print(table)

    def failure(self, failure: CliFailure) -> None:
        """Why the command ends: to stdout with --json, because that is its one document."""
        if self.as_json:
            self.json(failure.to_json())
            return
        self._err.print(Text.assemble(("error: ", "bold red"), printable(mask_text(str(failure)))), soft_wrap=True)
        for detail in failure.detail_lines():
            self._err.print(f"  {printable(mask_text(detail))}", soft_wrap=True)
