from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import uuid4

import pytest
import ray

from tests.ray.launched import MARK
from tests.ray.ray_organism import OnRay, on_ray

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",
}


@pytest.fixture(scope="module")
def ray_mark() -> Iterator[str]:
    """A Ray of this module's own; its processes carry the mark in their environment (see launched.py)."""
    mark = uuid4().hex
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**QUIET, MARK: mark}.items():
            environment.setenv(name, value)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield mark
        ray.shutdown()


@pytest.fixture
def start(ray_mark: str) -> Callable[[Path], AbstractAsyncContextManager[OnRay]]:
    """Starts the organism of an organism.yaml in a namespace of its own: `async with start(path) as organism`."""
    return lambda path: on_ray(path, ray_mark)
