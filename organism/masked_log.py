"""Logs without secrets, whoever logs and wherever to: Ray, uvicorn and python-socketio as well as we.

What Python makes of each call is a LogRecord; ours masks the texts that formatters take from it. So nothing has to be
known of handlers, which libraries add and replace as they like, and what is not logged costs nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from organism.masking import mask_text

_TRACES = ("exc_text", "stack_info")


def mask_logs() -> None:
    """From now on no record of this process shows a secret, nor does the traceback of an error that nobody catches.

    Call it first in each process; again does nothing. Ray wraps what makes records, before or after, to no harm.
    """
    if _masks(logging.getLogRecordFactory()):
        return
    logging.setLogRecordFactory(_masking(logging.getLogRecordFactory()))
    sys.excepthook = _show_uncaught
    threading.excepthook = _show_uncaught_of_thread


class MaskedRecord(logging.LogRecord):
    """As its base, with masked texts. Formatters cache a traceback in `exc_text` and then show what is there."""

    def getMessage(self) -> str:  # noqa: N802 (logging's name)
        return mask_text(super().getMessage())

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, mask_text(value) if name in _TRACES and isinstance(value, str) else value)


def _masking(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def make_masked(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        record.__class__ = MaskedRecord
        record.stack_info = record.stack_info
        if isinstance(record.args, tuple):  # uvicorn's formatter of requests takes the URL from here
            record.args = tuple(mask_text(each) if isinstance(each, str) else each for each in record.args)
        return record

    return make_masked


def _masks(make: Callable[..., logging.LogRecord]) -> bool:
    """Tried, as Ray may have put something of its own around ours."""
    return isinstance(make("", logging.DEBUG, "", 0, "", (), None), MaskedRecord)


def _show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _show("".join(traceback.format_exception(kind, error, trace)))


def _show_uncaught_of_thread(uncaught: threading.ExceptHookArgs) -> None:
    if uncaught.exc_type is SystemExit:
        return
    name = uncaught.thread.name if uncaught.thread else "unknown"
    shown = traceback.format_exception(uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback)
    _show(f"Exception in thread {name}:\n{''.join(shown)}")


def _show(text: str) -> None:
    stream = sys.stderr
    if stream is not None:  # nobody to tell, in a process without one
        stream.write(mask_text(text))
        stream.flush()
