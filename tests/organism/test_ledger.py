"""The books: from injects and outcomes to commits, threads and events."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from organism import ledger as ledger_module
from organism.config import Limits, Listener
from organism.errors import AgentNotFound, ThreadFull, ThreadKilled, ThreadNotFound
from organism.ledger import Group, Ledger
from organism.messages import Accepted, Inject, Message
from organism.router import Router
from organism.threads import Thread, Todo
from organism.window import InFlight
from organism.wire import Outcome, Output


def listener(name: str, payload: str = "Ping", **fields: Any) -> Listener:
    return Listener.model_validate(
        {"name": name, "payload_class": f"handlers.{payload}", "handler": "handlers.handle", **fields}
    )


class Books:
    """A ledger whose commits always succeed, and the log they make. `queue`: seqs that wait."""

    def __init__(self, *listeners: Listener, **limits: int) -> None:
        router = Router(listeners)
        router.learn({each.name: () for each in listeners})
        self.ledger = Ledger(router, Limits(**limits), last_seq=0, active_threads=0)
        self.log: dict[int, Message] = {}
        self.queue: set[int] = set()

    def committed(self, group: Group) -> Group:
        self.ledger.close_group(group)
        commit = group.commit
        self.log.update((message.seq, message) for message in commit.messages)
        self.queue |= {seq for _, seq in commit.queued}
        self.queue -= {seq for _, seq in commit.done}
        return group

    def inject(
        self,
        recipient: str = "a",
        thread_id: str | None = None,
        payload_type: str = "Ping",
        owner: str | None = None,
    ) -> Message:
        group = self.ledger.open_group()
        accepted = self.ledger.accept(Inject(recipient, payload_type, b"{}", thread_id, owner))
        assert isinstance(accepted, Accepted)
        self.committed(group)
        return self.log[accepted.seq]

    def refuse(self, recipient: str = "a", thread_id: str | None = None) -> Any:
        group = self.ledger.open_group()
        error = self.ledger.accept(Inject(recipient, "Ping", b"{}", thread_id))
        assert self.committed(group).commit.messages == []
        return error

    def settle(self, message: Message, *outputs: Output, **fields: Any) -> Group:
        group = self.ledger.open_group()
        status = "failed" if "error" in fields else "done"
        self.ledger.settle(message, Outcome(message.seq, message.recipient, status, outputs, **fields))
        return self.committed(group)

    def thread(self, message: Message) -> Thread:
        return self.ledger.threads[message.thread_id]


def send(to: str | None, payload_type: str = "Ping") -> Output:
    return Output(to, payload_type, b"{}")


def reply(payload_type: str = "Ping") -> Output:
    return Output(None, payload_type, b"{}", True)


def kinds(group: Group) -> list[str]:
    return [event.kind for event in group.events]


def errors(group: Group) -> list[str]:
    return [event.value["error"] for event in group.events if event.kind == "error"]


def test_an_inject_without_a_thread_begins_one():
    books = Books(listener("a"))
    message = books.inject()
    assert (message.seq, message.slot_index, message.sender, message.callers) == (1, 0, "console", "console")
    thread = books.thread(message)
    assert (thread.status, thread.participants, thread.pending) == ("active", ["console", "a"], 1)
    assert books.ledger.active_threads == 1


def test_the_events_of_an_inject_are_the_thread_and_the_message():
    books = Books(listener("a"))
    group = books.ledger.open_group()
    books.ledger.accept(Inject("a", "Ping", b"{}"))
    books.committed(group)
    assert [(event.kind, event.seq) for event in group.events] == [("thread_created", 1), ("message", 1)]


def test_seq_counts_the_log_and_slot_index_each_thread():
    books = Books(listener("a"), listener("b"))
    first = books.inject()
    books.inject()
    books.settle(first, send("b"), send("b"))
    books.inject(thread_id=first.thread_id)
    assert list(books.log) == [1, 2, 3, 4, 5]
    slots = [each.slot_index for each in books.log.values() if each.thread_id == first.thread_id]
    assert slots == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("recipient", "thread_id", "error"), [("x", None, AgentNotFound), ("a", "no-thread", ThreadNotFound)]
)
def test_an_inject_to_somebody_or_something_unknown_is_refused(recipient, thread_id, error):
    assert isinstance(Books(listener("a")).refuse(recipient, thread_id), error)


def test_a_thread_is_completed_when_nothing_of_it_is_pending():
    books = Books(listener("a"), listener("b"))
    first = books.inject()
    assert kinds(books.settle(first, send("b"))) == ["message"]
    assert books.thread(first).status == "active"
    group = books.settle(books.log[2])
    assert kinds(group) == ["thread_updated"]
    assert group.events[0].value.status == "completed"
    assert books.thread(first).status == "completed"
    assert books.ledger.active_threads == 0


def test_a_new_inject_makes_a_completed_thread_active_again():
    books = Books(listener("a"))
    first = books.inject()
    books.settle(first)
    group = books.ledger.open_group()
    books.ledger.accept(Inject("a", "Ping", b"{}", first.thread_id))
    assert kinds(books.committed(group)) == ["message", "thread_updated"]
    assert (books.thread(first).status, books.ledger.active_threads) == ("active", 1)


def test_a_thread_that_ends_and_begins_in_one_group_has_not_changed():
    books = Books(listener("a"))
    first = books.inject()
    group = books.ledger.open_group()
    books.ledger.settle(first, Outcome(1, "a", "done"))
    books.ledger.accept(Inject("a", "Ping", b"{}", first.thread_id))
    assert kinds(books.committed(group)) == ["message"]


def test_a_failed_message_is_a_dead_letter_and_its_thread_in_error():
    books = Books(listener("a"))
    message = books.inject()
    group = books.settle(message, error="it raised", attempts=3)
    [letter] = group.commit.dead
    assert (letter.message, letter.reason, letter.attempts) == (message, "it raised", 3)
    assert group.commit.done == [("a", 1)]
    thread = books.thread(message)
    assert (thread.status, thread.error, thread.pending) == ("error", "a: it raised", 0)
    assert errors(group) == ["it raised"]
    assert books.ledger.active_threads == 0


def test_a_thread_in_error_stays_so_while_its_other_messages_are_done():
    books = Books(listener("a"), listener("b"))
    first = books.inject()
    books.settle(first, send("b"), send("b"))
    books.settle(books.log[2], error="it raised")
    assert books.thread(first).status == "error"
    books.settle(books.log[3])
    assert (books.thread(first).status, books.thread(first).pending) == ("error", 0)


def test_a_requeued_dead_letter_makes_its_thread_active():
    books = Books(listener("a"))
    message = books.inject()
    books.settle(message, error="it raised")
    group = books.ledger.open_group()
    books.ledger.revive(message)
    commit = books.committed(group).commit
    assert (commit.requeued, commit.queued) == ([1], [("a", 1)])
    thread = books.thread(message)
    assert (thread.status, thread.error, thread.pending) == ("active", None, 1)
    assert kinds(group) == ["thread_updated"]


def test_a_killed_thread_drops_what_waits_and_takes_nothing_more():
    books = Books(listener("a"), listener("b"))
    first = books.inject()
    books.settle(first, send("b"))
    group = books.ledger.open_group()
    books.ledger.kill(books.thread(first), [books.log[2]])
    commit = books.committed(group).commit
    assert (commit.dropped, commit.done) == ([2], [("b", 2)])
    assert (books.thread(first).status, books.ledger.active_threads) == ("killed", 0)
    assert isinstance(books.refuse(thread_id=first.thread_id), ThreadKilled)


def test_killing_a_completed_thread_is_told():
    books = Books(listener("a"))
    first = books.inject()
    books.settle(first)
    group = books.ledger.open_group()
    books.ledger.kill(books.thread(first), [])
    assert [event.value.status for event in books.committed(group).events] == ["killed"]
    assert books.ledger.active_threads == 0


def test_a_reply_prunes_the_call_chain():
    books = Books(listener("a"), listener("b"), listener("c"))
    books.settle(books.inject(), send("b"))
    books.settle(books.log[2], send("c"))
    assert books.log[3].callers == "console/a/b"
    books.settle(books.log[3], reply())
    assert (books.log[4].recipient, books.log[4].callers) == ("b", "console/a")
    books.settle(books.log[4], reply())
    assert (books.log[5].recipient, books.log[5].callers) == ("a", "console")
    group = books.settle(books.log[5], reply("Answer"))
    assert (books.log[6].recipient, books.log[6].payload_type) == ("console", "Answer")
    assert group.routed == []
    assert books.queue == set()
    assert books.thread(books.log[1]).status == "completed"


def test_a_broadcast_is_a_message_to_each():
    books = Books(listener("a"), listener("b", "News", broadcast=True), listener("c", "News", broadcast=True))
    group = books.settle(books.inject(), send(None, "News"))
    assert [(each.recipient, each.slot_index) for each in group.routed] == [("b", 1), ("c", 2)]
    assert books.thread(books.log[1]).participants == ["console", "a", "b", "c"]


def test_a_self_call_comes_back_to_the_sender():
    books = Books(listener("a", agent=True))
    books.settle(books.inject(), send("a"))
    assert (books.log[2].sender, books.log[2].recipient) == ("a", "a")


def test_a_breach_is_told_to_operators_in_full_and_to_the_sender_in_general():
    books = Books(listener("a", peers=["a"]), listener("b"))
    books.ledger.router.learn({"a": ("Ping", "SystemError")})
    group = books.settle(books.inject(), send("b"))
    assert errors(group) == ["'a' sent Ping to 'b', which is not among its peers"]
    [message] = group.routed
    assert (message.sender, message.recipient, message.payload_type) == ("system", "a", "SystemError")
    told = orjson.loads(message.payload)
    assert told["code"] == "routing"
    assert "'b'" not in told["message"]


def test_a_system_error_stands_in_the_log_when_the_sender_does_not_take_it():
    books = Books(listener("a", peers=["a"]), listener("b"))
    group = books.settle(books.inject(), send("b"))
    assert group.routed == []
    assert [each.payload_type for each in group.commit.messages] == ["SystemError"]
    assert books.thread(books.log[1]).status == "completed"


def test_a_breach_while_handling_a_system_error_is_not_answered_with_another():
    books = Books(listener("a", peers=["a"]), listener("b"))
    books.ledger.router.learn({"a": ("Ping", "SystemError")})
    [system_error] = books.settle(books.inject(), send("b")).routed
    assert books.settle(system_error, send("b")).routed == []


def test_a_listener_that_was_removed_gets_no_system_error():
    books = Books(listener("a"))
    message = books.inject()
    books.ledger.router = Router([listener("b")], leaving=[listener("a", peers=["a"])])
    group = books.settle(message, send("b"))
    assert group.routed == []
    assert errors(group) == ["'a' sent Ping to 'b', which is not among its peers"]


def test_a_full_thread_takes_no_injects():
    books = Books(listener("a"), max_slots_per_thread=2)
    first = books.inject()
    books.inject(thread_id=first.thread_id)
    error = books.refuse(thread_id=first.thread_id)
    assert isinstance(error, ThreadFull)
    assert error.max_slots == 2


@pytest.mark.parametrize("output", [send("b"), send(None, "News"), send("nobody")])
def test_what_a_full_thread_cannot_hold_is_lost_and_said_so(output):
    news = [listener(name, "News", broadcast=True) for name in "cde"]
    books = Books(listener("a"), listener("b"), *news, max_slots_per_thread=3)
    first = books.inject()
    books.settle(first, send("b"))
    group = books.settle(books.log[2], output, output, output)
    thread = books.thread(first)
    assert thread.message_count == len(books.log) == 3
    assert thread.status == "error"
    assert "max_slots_per_thread" in (thread.error or "")
    assert "max_slots_per_thread" in errors(group)[-1]


def test_a_state_belongs_to_one_listener_in_one_thread():
    books = Books(listener("a"), listener("b"))
    first, other = books.inject(), books.inject()
    books.settle(first, send("b"), state=b'{"n":1}')
    books.settle(books.log[3], state=b'{"n":2}')
    assert books.thread(first).states == {"a": b'{"n":1}', "b": b'{"n":2}'}
    assert books.thread(other).states == {}
    again = books.inject(thread_id=first.thread_id)
    books.settle(again, state=None)
    assert books.thread(first).states["a"] == b'{"n":1}'


def test_tokens_add_up_also_of_what_failed():
    books = Books(listener("a"))
    first = books.inject()
    books.settle(first, tokens=3)
    books.settle(books.inject(thread_id=first.thread_id), tokens=4, error="it raised")
    assert books.thread(first).tokens == {"a": 7}


def test_a_thread_is_paid_for_by_who_injected_into_it_last():
    books = Books(listener("a"))
    first = books.inject(owner="key:ann")
    assert books.settle(first, tokens=3).spent == {"key:ann": 3}
    second = books.inject(thread_id=first.thread_id, owner="key:bob")
    assert books.thread(first).owner == "key:bob"
    assert books.settle(second, tokens=4, error="it raised").spent == {"key:bob": 4}
    books.inject(thread_id=first.thread_id)
    assert books.thread(first).owner is None


def test_what_agents_send_each_other_is_paid_for_by_who_began_it():
    books = Books(listener("a"), listener("b"))
    assert books.settle(books.inject(owner="key:ann"), send("b")).spent == {}
    assert books.settle(books.log[2], tokens=5).spent == {"key:ann": 5}


def test_tokens_of_a_group_add_up_by_owner_and_nobody_pays_for_those_without_one():
    books = Books(listener("a"))
    messages = [books.inject(owner=owner) for owner in ("key:ann", "key:bob", "key:ann", None)]
    group = books.ledger.open_group()
    for message in messages:
        books.ledger.settle(message, Outcome(message.seq, "a", "done", tokens=2))
    assert books.committed(group).spent == {"key:ann": 4, "key:bob": 2}


def test_who_requeues_a_dead_letter_pays_from_then_on():
    books = Books(listener("a"))
    message = books.inject(owner="key:ann")
    books.settle(message, error="it raised")
    group = books.ledger.open_group()
    books.ledger.revive(message, "key:bob")
    books.committed(group)
    assert books.settle(message, tokens=6).spent == {"key:bob": 6}


def test_an_inject_that_is_refused_leaves_a_thread_to_its_owner():
    books = Books(listener("a"), max_slots_per_thread=1)
    first = books.inject(owner="key:ann")
    assert isinstance(books.refuse(thread_id=first.thread_id), ThreadFull)
    assert books.thread(first).owner == "key:ann"


def todo(id_: str, wait_for: str = "Answer", from_listener: str | None = None) -> Todo:
    return Todo(id_, "a", wait_for, from_listener, "")


def test_a_todo_is_raised_when_what_it_waits_for_arrives_from_whom_it_waits_for():
    books = Books(listener("a"), listener("b"), listener("c", "Answer"))
    todos = (todo("any"), todo("b", from_listener="b"), todo("c", from_listener="c"), todo("other", "Question"))
    first = books.inject()
    books.settle(first, send("b"), added_todos=todos)
    assert [each.raised for each in books.thread(first).todos] == [False] * 4
    books.settle(books.log[2], send("c", "Answer"))
    assert {each.id: each.raised for each in books.thread(first).todos} == {
        "any": True, "b": True, "c": False, "other": False,
    }  # fmt: skip


def test_a_closed_todo_is_gone_also_when_it_was_added_by_the_same_handler():
    books = Books(listener("a"))
    first = books.inject()
    books.settle(first, added_todos=(todo("1"), todo("2"), todo("3")), closed_todos=("2",))
    books.settle(books.inject(thread_id=first.thread_id), closed_todos=("1", "never was"))
    assert [each.id for each in books.thread(first).todos] == ["3"]


def test_the_deaths_of_messages_are_stored():
    books = Books(listener("a"))
    message = books.inject()
    group = books.ledger.open_group()
    books.ledger.note_deaths([InFlight(message, "cell", 2)])
    assert books.committed(group).commit.deaths == [("a", 1, 2)]


def test_a_rolled_back_group_has_left_no_trace():
    books = Books(listener("a"), listener("b"))
    first = books.inject()
    before = (books.ledger.last_seq, books.ledger.active_threads)
    stored = Thread(first.thread_id, 0, 0, "active", ["console", "a"], 1, 1)
    groups = [books.ledger.open_group()]
    books.ledger.accept(Inject("a", "Ping", b"{}"))
    books.ledger.settle(first, Outcome(1, "a", "done", (send("b"),), state=b'{"n":1}'))
    books.ledger.close_group(groups[0])
    groups.append(books.ledger.open_group())
    books.ledger.accept(Inject("b", "Ping", b"{}"))
    books.ledger.roll_back(groups)
    assert (books.ledger.last_seq, books.ledger.active_threads) == before
    assert books.ledger.missing([first.thread_id]) == [first.thread_id]
    books.ledger.threads[first.thread_id] = stored  # as it would be loaded again
    books.settle(first, send("b"))
    assert (books.log[2].seq, books.log[2].slot_index) == (2, 1)


def test_the_cache_of_threads_is_bounded_and_keeps_those_at_work(monkeypatch):
    monkeypatch.setattr(ledger_module, "CACHED_THREADS", 2)
    books = Books(listener("a"))
    messages = [books.inject() for _ in range(5)]
    books.ledger.trim(keep={messages[0].thread_id})
    kept = set(books.ledger.threads)
    assert messages[0].thread_id in kept
    assert {messages[3].thread_id, messages[4].thread_id} <= kept
    assert len(kept) == 3
