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

from organism.cli.app import build_app, main

__all__ = ["build_app", "main"]
