"""How the log of a single session's cell tells whose it is.

Ray fixes an actor's name, and so its row in the dashboard, when it is created. A new session gets the id that a warm
cell is named for; one that is brought back takes a warm cell with another name, and only its log can say so.
"""

from __future__ import annotations

import sys

ACTOR_NAME = ":actor_name:"
"""A line that begins so is not shown by Ray's log readers: what follows is put before each line from then on."""


def show_session(session_id: str) -> None:
    """From now on the process logs in the session's name."""
    for stream in (sys.stdout, sys.stderr):
        print(f"{ACTOR_NAME}session:{session_id}", file=stream, flush=True)
