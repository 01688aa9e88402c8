"""The options that commands share, and how a failure learns that --json was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

_JSON_KEY = "organism.json"


def expect_json(ctx: Any, args: Sequence[str]) -> None:
    """Before the arguments are read: what is wrong with them is told as JSON, too."""
    ctx.meta[_JSON_KEY] = "--json" in args


def _remember_json(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[_JSON_KEY] = value
    return value


def wants_json(ctx: typer.Context) -> bool:
    """Whether the command that ran in this context was given --json."""
    return bool(ctx.meta.get(_JSON_KEY, False))


AsJson = Annotated[
    bool, typer.Option("--json", callback=_remember_json, help="Print one JSON document, also for an error.")
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="ORGANISM_URL",
        help="Where the organism answers. Default: what `organism up` wrote to ./.organism, else http://127.0.0.1:8000.",
        show_default=False,
    ),
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Entries in one page.")]
Offset = Annotated[int, typer.Option(min=0, help="Entries to leave out first.")]
