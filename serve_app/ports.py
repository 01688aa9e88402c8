"""Finding out which TCP ports can be had, before something slower fails on them."""

from __future__ import annotations

import errno
import random
import socket
import time

from serve_app.launch_errors import PortUnavailable

POLL_S = 0.1

FREE_PORTS = range(20_000, 30_000)
"""Where a free port is looked for: below those that systems give to outgoing connections, one of which could take it
before it is listened on, and below those of Serve's replicas."""


def api_port(host: str, port: int, patience_s: float = 0.0) -> int:
    """`port` when it can be listened on at `host`, perhaps after `patience_s`; a free one for 0.

    Raises:
        PortUnavailable: it is in use, reserved, or `host` is no address of this machine.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return _bindable(host, port) if port else _free_port(host)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            if not in_use or time.monotonic() >= deadline:
                reason = "it is in use" if in_use else error.strerror or str(error)
                raise PortUnavailable(host, port, reason) from error
        time.sleep(POLL_S)


def preferred_port(port: int) -> int:
    """`port` when nothing on this machine uses it, otherwise any free one."""
    try:
        return _bindable("", port)
    except OSError:
        return _free_port("")


def answers(address: str, timeout_s: float) -> str | None:
    """Why nobody takes connections at `address` (host:port); None when somebody does."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return "it is no host:port"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _free_port(host: str) -> int:
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        try:
            return _bindable(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _bindable(host, 0)


def _bindable(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the last run that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return probe.getsockname()[1]
