"""The command line put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from organism.cli import (
    audit,
    chat,
    checking,
    control,
    following,
    keys,
    librarian,
    lifecycle,
    mcp,
    queries,
    sessions,
    starter,
    storage,
)
from organism.cli.credentials import ENVIRONMENT
from organism.cli.failures import EXIT_CODES, CliFailure, WrongUse
from organism.cli.options import expect_json, wants_json
from organism.cli.output import Screen

_USAGE_ERROR: Any = typer.BadParameter.__base__  # Typer gives it no public name


class Commands(TyperGroup):
    """Runs a command; shows a CliFailure instead of a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        expect_json(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CliFailure as failure:
            self._end(ctx, failure)
        except _USAGE_ERROR as error:
            if not wants_json(ctx):
                raise  # Typer shows it, and how the command is used
            self._end(ctx, WrongUse(error.format_message()))

    def _end(self, ctx: Any, failure: CliFailure) -> NoReturn:
        Screen(wants_json(ctx)).failure(failure)
        raise typer.Exit(failure.exit_code) from failure


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"organism {version('organism')}")
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Starts, watches and steers an organism of supervised agents.

    Every command takes --json. All but up, check, new, keys and storage speak with a running organism through its API.
    """


def build_app() -> typer.Typer:
    """The whole command line, as a Typer application."""
    app = typer.Typer(
        name="organism",
        cls=Commands,
        epilog=f"{ENVIRONMENT}\n\n{EXIT_CODES}",
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    modules = (
        lifecycle, queries, control, following, chat, sessions, librarian, mcp, checking, starter, storage, keys, audit,
    )  # fmt: skip
    for module in modules:
        module.register(app)
    return app
