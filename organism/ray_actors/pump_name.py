"""How everybody finds the pump: by its name, also after it was started again."""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle

from organism.errors import OrganismUnreachable

PUMP = "pump"

MAX_CALLS = 100_000
"""Calls an actor may have under way. Ray's default of 1,000 would be a hidden limit; ours are in the pump's windows."""


def find_pump(namespace: str) -> ActorHandle[Any]:
    try:
        return ray.get_actor(PUMP, namespace)
    except ValueError:
        raise OrganismUnreachable(f"no pump in namespace {namespace!r}") from None
