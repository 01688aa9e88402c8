"""The `organism` command: a client of the REST and WebSocket API like any other; only up, check and new work alone.

failures    what ends a command early, and the exit codes
options     the options that commands share
output      what is printed: tables, messages, JSON
client      the REST API of a running organism, and where to find it
checking    everything that is wrong with an organism.yaml and the classes it names
lifecycle   up, down
queries     status, threads, thread, dead-letters
control     inject, pause, resume, kill, reload, requeue
following   the live messages, over a WebSocket that comes back by itself
starter     new; the files are in starter/
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

INTERRUPTED = 130


def main() -> None:
    """The entry point of the `organism` script."""
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:  # a KeyboardInterrupt in an import shows a traceback, or is lost
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    app = build_app()
    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


def build_app() -> typer.Typer:
    """The whole command line, as a Typer application."""
    from organism.cli import app  # most of a second, in which Ctrl-C may come

    return app.build_app()
