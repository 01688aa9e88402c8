"""The record of a thread and the rules of its call chain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from organism.threads import MAX_CALLERS, Thread, extend, prune

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,9}", fullmatch=True)
chains = st.lists(names, min_size=1, max_size=MAX_CALLERS).map("/".join)


@given(chains.filter(lambda chain: chain.count("/") < MAX_CALLERS - 1), names)
def test_a_reply_goes_to_the_one_who_sent_and_leaves_the_chain_before_that(callers, sender):
    assert prune(extend(callers, sender)) == (sender, callers)


def test_a_long_chain_forgets_its_oldest_callers_alone():
    senders = [f"s{number}" for number in range(3 * MAX_CALLERS)]
    chain = "console"
    for sender in senders:
        chain = extend(chain, sender)
    assert chain.split("/") == senders[-MAX_CALLERS:]


def test_a_chain_with_one_caller_is_empty_after_the_reply():
    assert prune("console") == ("console", "")
    assert prune("") == ("", "")


def test_a_view_keeps_what_the_thread_was():
    thread = Thread("t", 1000, 2000, participants=["console"])
    view = thread.view()
    thread.participants.append("greeter")
    thread.status = "completed"
    assert (view.participants, view.status) == (("console",), "active")


def test_the_api_shows_a_thread_with_its_times_as_iso():
    thread = Thread("t", 0, 1500, "error", ["console", "greeter"], 3, 1, "greeter: it raised")
    assert thread.to_api() == {
        "id": "t",
        "status": "error",
        "participants": ["console", "greeter"],
        "message_count": 3,
        "created_at": "1970-01-01T00:00:00.000Z",
        "last_activity": "1970-01-01T00:00:01.500Z",
        "error": "greeter: it raised",
    }
