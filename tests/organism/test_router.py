"""Who may send what to whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.config import Listener
from organism.router import Breach, Router, Target
from organism.wire import Output


def listener(name: str, payload: str = "Ping", **fields: object) -> Listener:
    return Listener.model_validate(
        {"name": name, "payload_class": f"handlers.{payload}", "handler": "handlers.handle", **fields}
    )


def loaded(*listeners: Listener, leaving: tuple[Listener, ...] = ()) -> Router:
    """A router that knows that no handler takes more than its listener's class."""
    router = Router(listeners, leaving)
    router.learn({each.name: () for each in listeners})
    return router


def reason(result: list[Target] | Breach) -> str:
    assert isinstance(result, Breach)
    return result.reason


def test_a_send_goes_to_its_target_which_was_called_by_the_sender():
    router = loaded(listener("a"), listener("b", "Pong"))
    assert router.route("a", "console", Output("b", "Pong", b"{}")) == [Target("b", "console/a")]


def test_a_target_that_does_not_exist_is_a_breach():
    assert "does not exist" in reason(loaded(listener("a")).route("a", "console", Output("b", "Pong", b"{}")))


def test_a_payload_that_the_target_does_not_take_is_a_breach():
    router = loaded(listener("a"), listener("b", "Pong"))
    assert "which takes Pong" in reason(router.route("a", "console", Output("b", "Ping", b"{}")))


def test_a_listener_with_peers_sends_to_them_and_to_itself_only():
    router = loaded(listener("a", peers=["b"]), listener("b", "Pong"), listener("c", "Pong"))
    assert router.route("a", "", Output("b", "Pong", b"{}")) == [Target("b", "/a")]
    assert router.route("a", "", Output("a", "Ping", b"{}")) == [Target("a", "/a")]
    assert "not among its peers" in reason(router.route("a", "", Output("c", "Pong", b"{}")))


def test_an_agent_without_peers_may_send_to_nobody_else():
    router = loaded(listener("a", agent=True), listener("b", "Pong"))
    assert "not among its peers" in reason(router.route("a", "", Output("b", "Pong", b"{}")))


def test_a_listener_without_peers_that_is_no_agent_may_send_to_all():
    router = loaded(listener("a"), listener("b", "Pong"))
    assert router.route("b", "", Output("a", "Ping", b"{}")) == [Target("a", "/b")]


def test_a_removed_listener_stays_bound_to_its_peers():
    router = loaded(listener("b", "Pong"), listener("c", "Pong"), leaving=(listener("a", peers=["b"]),))
    assert router.route("a", "", Output("b", "Pong", b"{}")) == [Target("b", "/a")]
    assert "not among its peers" in reason(router.route("a", "", Output("c", "Pong", b"{}")))
    assert not router.knows("a")
    assert not router.accepts("a", "SystemError")


def test_a_broadcast_reaches_all_peers_of_its_class_that_listen_for_it():
    router = loaded(
        listener("a", peers=["b", "c", "d"]),
        listener("b", "News", broadcast=True),
        listener("c", "News"),
        listener("d", "News", broadcast=True),
        listener("e", "News", broadcast=True),
    )
    targets = router.route("a", "console", Output(None, "News", b"{}"))
    assert targets == [Target("b", "console/a"), Target("d", "console/a")]


def test_a_broadcast_that_nobody_listens_for_is_a_breach():
    assert "no peer listens" in reason(loaded(listener("a")).route("a", "", Output(None, "News", b"{}")))


def test_a_reply_goes_back_to_the_caller_whatever_the_peers():
    router = loaded(listener("a", "Pong"), listener("b", peers=["b"]))
    assert router.route("b", "console/a", Output(None, "Pong", b"{}", True)) == [Target("a", "console")]


def test_a_reply_that_its_caller_does_not_take_is_a_breach():
    router = loaded(listener("a", "Pong"), listener("b"))
    assert "which takes Pong" in reason(router.route("b", "console/a", Output(None, "Ping", b"{}", True)))


def test_a_reply_to_a_caller_that_was_removed_is_a_breach():
    assert "any more" in reason(loaded(listener("b")).route("b", "console/a", Output(None, "Ping", b"{}", True)))


def test_a_reply_without_a_caller_is_a_breach():
    assert "no caller left" in reason(loaded(listener("a")).route("a", "", Output(None, "Ping", b"{}", True)))


@pytest.mark.parametrize("name", ["a", "console"])
def test_the_reply_to_what_came_from_outside_stands_in_the_log_for_the_console(name):
    router = loaded(listener(name))
    outside = [Target("console", "", is_outside=True)]
    assert router.route(name, "console", Output(None, "Anything", b"{}", True)) == outside


def test_a_listener_named_console_gets_the_replies_to_its_own_calls():
    router = loaded(listener("console", "Pong"), listener("b"))
    assert router.route("b", "console/console", Output(None, "Pong", b"{}", True)) == [Target("console", "console")]


def test_anybody_may_send_to_the_console_outside():
    router = loaded(listener("a"))
    assert router.route("a", "x", Output("console", "Any", b"{}")) == [Target("console", "x/a", is_outside=True)]


def test_what_a_handler_takes_beside_its_class_is_learned():
    router = loaded(listener("a"), listener("b", "Pong"))
    router.learn({"b": ("Pong", "SystemError"), "unknown": ("Pong",)})
    assert router.accepts("b", "SystemError")
    assert router.route("a", "", Output("b", "SystemError", b"{}")) == [Target("b", "/a")]


def test_until_a_handler_is_loaded_its_cell_judges_what_it_takes():
    router = Router([listener("a"), listener("b", "Pong")])
    assert router.route("a", "", Output("b", "Answer", b"{}")) == [Target("b", "/a")]
    assert router.route("b", "console/a", Output(None, "Answer", b"{}", True)) == [Target("a", "console")]
    assert not router.accepts("b", "SystemError")


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_a_chain_of_sends_is_walked_back_by_replies(path):
    """However the calls went, replies go back the same way, and at last outside."""
    router = loaded(*(listener(name) for name in "abc"))
    callers, recipient = "console", path[0]
    for name in path[1:]:
        [(target, callers, _)] = router.route(recipient, callers, Output(name, "Ping", b"{}"))  # type: ignore[misc]
        assert target == name
        recipient = name
    for name in reversed(path[:-1]):
        assert router.route(recipient, callers, Output(None, "Ping", b"{}", True)) == [
            Target(name, callers.rpartition("/")[0])
        ]
        callers, recipient = callers.rpartition("/")[0], name
    assert router.route(recipient, callers, Output(None, "Ping", b"{}", True)) == [Target("console", "", True)]
