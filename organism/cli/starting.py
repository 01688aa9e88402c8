"""Ctrl-C and SIGTERM while an organism is started: they end the start, whatever it is at, and are never lost.

A KeyboardInterrupt could be: one that is raised in a callback or destructor is printed and forgotten.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Self

from organism.cli import INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STDERR = 2  # the file descriptor
_NOTICE = b"interrupted; nothing has been started\n"


class StartInterrupts:
    """A context manager. Before a process is started a signal ends this one at once, then it is noted.

    is_noted: whether one has arrived.
    """

    def __init__(self) -> None:
        self.is_noted = False
        self._has_process = False

    def __enter__(self) -> Self:
        self._before = {each: signal.signal(each, self._arrived) for each in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def hold(self) -> None:
        """Lets signals wait, through an exec too, until this process, the one that it becomes, or the one that it
        starts takes them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def note_from_here(self) -> None:
        """After `hold`, when there is a process to be ended."""
        self._has_process = True
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        if not self._has_process:
            os.write(_STDERR, _NOTICE)  # `print` may be what is interrupted
            os._exit(INTERRUPTED)
        self.is_noted = True
