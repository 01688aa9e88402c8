from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from serve_app.launch_errors import PortUnavailable
from serve_app.ports import answers, api_port, preferred_port


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    return server.getsockname()[1]


def test_a_free_port_is_taken_as_it_is(listening):
    free = port_of(listening)
    listening.close()
    assert api_port("127.0.0.1", free) == free


def test_port_0_becomes_a_free_one():
    assert api_port("127.0.0.1", 0) > 0


def test_a_port_in_use_is_refused_with_a_remedy(listening):
    with pytest.raises(PortUnavailable, match=f"127.0.0.1:{port_of(listening)}: it is in use; .*--port"):
        api_port("127.0.0.1", port_of(listening))


def test_a_port_that_becomes_free_in_time_is_waited_for(listening):
    port = port_of(listening)
    threading.Timer(0.05, listening.close).start()
    assert api_port("127.0.0.1", port, patience_s=10.0) == port


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(PortUnavailable, match=r"192\.0\.2\.77"):
        api_port("192.0.2.77", 8000, patience_s=10.0)


def test_a_preferred_port_in_use_is_replaced():
    with socket.create_server(("", 0)) as server:
        assert preferred_port(port_of(server)) not in {0, port_of(server)}


def test_who_answers_is_found_out(listening):
    assert answers(f"127.0.0.1:{port_of(listening)}", 5.0) is None


@pytest.mark.parametrize("address", ["somewhere", "ray://x", "127.0.0.1:99999", "127.0.0.1:"])
def test_what_is_no_address_answers_nothing(address):
    assert answers(address, 0.1)


def test_a_closed_port_does_not_answer(listening):
    port = port_of(listening)
    listening.close()
    assert answers(f"127.0.0.1:{port}", 5.0) == "Connection refused"
