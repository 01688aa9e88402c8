from __future__ import annotations

import contextlib
import pkgutil
import resource
import socket
import subprocess
import sys

import pytest

from serve_app import ray_environment
from serve_app.head_limit import limit_heads
from serve_app.ray_environment import HAPROXY_STATS_PORT, local_variables, serve_variables


def test_haproxy_takes_a_connection_for_each_stream_and_more(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert int(serve_variables(4000)["RAY_SERVE_HAPROXY_MAXCONN"]) > 4000


def test_haproxy_is_not_asked_for_more_connections_than_it_may_open(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert int(serve_variables(4000)["RAY_SERVE_HAPROXY_MAXCONN"]) * 2 < 4096


def test_without_haproxy_serve_uses_its_own_proxy(monkeypatch):
    monkeypatch.setattr(ray_environment, "_haproxy", lambda: None)
    assert serve_variables(4000) == {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


def test_ports_that_are_taken_are_avoided(tmp_path):
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # somebody else has it, which is as good
            other.bind(("", HAPROXY_STATS_PORT))
        variables = local_variables(tmp_path)
    assert variables["RAY_SERVE_HAPROXY_STATS_PORT"] != str(HAPROXY_STATS_PORT)


def test_serves_own_proxies_refuse_headers_without_end(tmp_path):
    named = local_variables(tmp_path)["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]
    assert pkgutil.resolve_name(named) is limit_heads


def test_all_files_of_a_run_are_in_its_folder(tmp_path):
    ends = ("SOCKET_PATH", "BINARY_PATH", "LOC", "FILE")
    paths = [value for name, value in local_variables(tmp_path).items() if name.endswith(ends)]
    assert paths
    assert all(path.startswith(str(tmp_path)) for path in paths)


@pytest.mark.skipif(sys.platform != "linux", reason="the wrapper is for Linux")
def test_the_wrapper_runs_haproxy(tmp_path):
    wrapper = local_variables(tmp_path)["RAY_SERVE_HAPROXY_BINARY_PATH"]
    version = subprocess.run([wrapper, "-v"], capture_output=True, text=True, check=True)
    assert "HAProxy version" in version.stdout
