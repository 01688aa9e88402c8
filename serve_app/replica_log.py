"""Where the log of an API replica goes: to the error output of its process, which Ray shows in the launcher's."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

from organism.masked_log import mask_logs


def log_to_launcher() -> None:
    """Shows errors of this process, failures of requests among them; warnings come with every stop. No log has secrets.

    Serve has put something of its own in the place of sys.stderr, which keeps a thousand lines before it writes them
    to a file, and leaves out our kind.
    """
    mask_logs()
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.ERROR)
    logging.getLogger().addHandler(handler)


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        """As logging does it, without `print`: in its place Serve has put one that shows each line as a tuple."""
        return "".join(traceback.format_exception(*ei)).rstrip()
