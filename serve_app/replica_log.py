"""Where the log of an API replica goes: to the error output of its process, which Ray shows in the launcher's."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

from organism.masked_log import mask_logs

BAD_TEXT = "Invalid UTF-8 sequence received from client."
"""What uvicorn calls an error, and logs with its stack. Anyone can send such a frame, also without credentials, and
go on doing so."""


def log_to_launcher() -> None:
    """Shows errors of this process, failures of requests among them; warnings come with every stop. No log has secrets.

    Serve has put something of its own in the place of sys.stderr, which keeps a thousand lines before it writes them
    to a file, and leaves out our kind.
    """
    mask_logs()
    logging.getLogger("uvicorn.error").addFilter(_is_ours)
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.ERROR)
    logging.getLogger().addHandler(handler)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether it tells of a failure of ours, not of a client's."""
    return record.msg != BAD_TEXT


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        """As logging does it, without `print`: in its place Serve has put one that shows each line as a tuple."""
        return "".join(traceback.format_exception(*ei)).rstrip()
