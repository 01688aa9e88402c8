from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.ray.launched import MARK
from tests.ray.ray_organism import OnRay, on_ray

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",
}


@contextmanager
def marked_environment() -> Iterator[str]:
    """Every process that is started meanwhile carries the mark (see launched.py)."""
    mark = uuid4().hex
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**ENVIRONMENT, MARK: mark}.items():
            environment.setenv(name, value)
        yield mark


@pytest.fixture(scope="module")
def ray_mark() -> Iterator[str]:
    """A Ray of this module's own; the mark of its processes."""
    with marked_environment() as mark:
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield mark
        ray.shutdown()


@pytest.fixture
def start(ray_mark: str) -> Callable[[Path], AbstractAsyncContextManager[OnRay]]:
    """Starts the organism of an organism.yaml in a namespace of its own: `async with start(path) as organism`."""
    return lambda path: on_ray(path, ray_mark)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A Ray of one node with one CPU and `west`; others can join it, all on this machine."""
    with marked_environment():
        head = {"num_cpus": 1, "resources": {"west": 10}, "include_dashboard": False, "dashboard_port": 0}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            ray.init(cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
