"""Whether an actor's process is the first one."""

from __future__ import annotations

import warnings
from typing import Any

import ray
from ray.util.annotations import RayDeprecationWarning


def was_started_again() -> bool:
    """Whether Ray has restarted the actor that this is called in."""
    context: Any = ray.get_runtime_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # Ray's own property uses what Ray deprecates
        return bool(context.was_current_actor_reconstructed)
