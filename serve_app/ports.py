"""Finding out which TCP ports can be had, before something slower fails on them."""

from __future__ import annotations

import errno
import socket

from serve_app.launch_errors import PortUnavailable


def api_port(host: str, port: int) -> int:
    """`port` when it can be listened on at `host`; a free one for 0.

    Raises:
        PortUnavailable: it is in use, reserved, or `host` is no address of this machine.
    """
    try:
        return _bindable(host, port)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise PortUnavailable(host, port, "it is in use" if in_use else str(error.strerror or error)) from error


def preferred_port(port: int) -> int:
    """`port` when nothing on this machine uses it, otherwise any free one."""
    try:
        return _bindable("", port)
    except OSError:
        return _bindable("", 0)


def _bindable(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections of the last run that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return probe.getsockname()[1]
