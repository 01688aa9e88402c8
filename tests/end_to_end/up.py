"""`organism up`, as a user starts it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.ray.launched import Launched


class Up(Launched):
    """In the foreground, in a terminal of its own."""

    command = (Path(sys.executable).with_name("organism"), "up")
