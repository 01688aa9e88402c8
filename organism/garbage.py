"""Python's garbage collector, set for processes through which messages stream."""

from __future__ import annotations

import gc


def calm_garbage_collector() -> None:
    """Makes the collector rare; called once, when a process has loaded what it works with.

    Messages and threads come and go by the thousand and hold no cycles: with Python's defaults it would look through
    all of them many times a second, for a third of the pump's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
