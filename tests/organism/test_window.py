"""One listener's queue in memory, alone and against a model of the log."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from organism.messages import Message
from organism.storage.base import Pending
from organism.window import Window


def message(seq: int, thread_id: str = "t") -> Message:
    return Message(seq, f"id-{seq}", thread_id, seq, "console", "greeter", "Greeting", b"{}", 0, "console")


def taken(window: Window, incarnation: str = "cell") -> list[int]:
    """Takes all that is ready; the seqs."""
    return [window.take(incarnation).message.seq for _ in range(len(window.ready))]


def test_messages_of_different_threads_leave_side_by_side_in_log_order():
    window = Window(10)
    for seq, thread_id in enumerate("abc", start=1):
        window.add(message(seq, thread_id))
    assert taken(window) == [1, 2, 3]


def test_messages_of_one_thread_leave_one_at_a_time():
    window = Window(10)
    for seq in (1, 2, 3):
        window.add(message(seq))
    for seq in (1, 2, 3):
        assert taken(window) == [seq]
        window.settle(seq)
    assert window.depth == 0


def test_a_full_window_leaves_messages_in_the_log_and_reads_them_again_when_half_is_free():
    window = Window(4)
    for seq in range(1, 8):
        window.add(message(seq, f"t{seq}"))
    assert (len(window.ready), window.depth, window.overflow) == (4, 7, True)
    assert not window.wants_refill
    assert taken(window) == [1, 2, 3, 4]
    assert window.wants_refill
    assert (window.loaded_to, window.room) == (4, 4)
    window.refill([Pending(message(seq, f"t{seq}"), 0) for seq in (5, 6, 7)], all_read=True)
    assert taken(window) == [5, 6, 7]
    assert not window.overflow


def test_what_waited_in_the_log_at_the_start_is_read_before_anything_new():
    window = Window(4, depth=2)
    window.add(message(3, "c"))
    assert len(window.ready) == 0
    assert window.wants_refill
    window.refill([Pending(message(seq, f"t{seq}"), 0) for seq in (1, 2, 3)], all_read=True)
    assert taken(window) == [1, 2, 3]


def test_a_message_that_a_refill_found_before_its_commit_was_told_is_delivered_once():
    window = Window(2)
    for seq in (1, 2, 3):
        window.add(message(seq, f"t{seq}"))
    taken(window)
    window.refill([Pending(message(seq, f"t{seq}"), 0) for seq in (3, 4)], all_read=True)
    window.add(message(4, "t4"))
    assert taken(window) == [3, 4]
    assert window.depth == 4


def test_what_a_dead_cell_had_is_ready_again_first_of_all_with_its_deaths():
    window = Window(10)
    for seq in (1, 2, 3):
        window.add(message(seq, f"t{seq}"))
    entries = [window.take("old"), window.take("old")]
    for entry in reversed(entries):
        window.give_back(entry._replace(deaths=1))
    assert [(window.take("new").deaths, seq) for seq in (1, 2, 3)] == [(1, 1), (1, 2), (0, 3)]


def test_a_message_that_came_back_still_precedes_the_later_ones_of_its_thread():
    window = Window(10)
    for seq in (1, 2):
        window.add(message(seq))
    window.give_back(window.take("old"))
    assert taken(window) == [1]
    window.settle(1)
    assert taken(window) == [2]


def test_a_killed_thread_is_forgotten_wherever_its_messages_are():
    window = Window(10)
    for seq in (1, 2, 3):
        window.add(message(seq, "killed"))
    window.add(message(4, "other"))
    window.take("cell")
    flying = window.drop_thread("killed")
    assert [entry.message.seq for entry in flying] == [1]
    assert window.in_flight == {}
    assert window.room == 9
    assert taken(window) == [4]


def test_a_killed_thread_that_is_only_ready_is_forgotten_too():
    for depth_first in (False, True):
        window = Window(10, depth_first=depth_first)
        for seq, thread_id in enumerate(("a", "killed", "b"), start=1):
            window.add(message(seq, thread_id))
        assert window.drop_thread("killed") == []
        assert taken(window) == [1, 3]


def test_a_requeued_message_is_ready_at_once_and_not_read_from_the_log_again():
    window = Window(1)
    window.requeue(message(5, "old"))
    window.add(message(9, "new"))
    assert window.overflow
    assert window.loaded_to == 5
    assert taken(window) == [5]


def test_a_requeued_message_that_a_refill_will_find_is_left_to_it():
    window = Window(1, depth=3)
    window.refill([Pending(message(1, "a"), 0)], all_read=False)
    window.requeue(message(7, "old"))
    assert window.depth == 4
    assert taken(window) == [1]
    window.refill([Pending(message(7, "old"), 0)], all_read=True)
    assert taken(window) == [7]


def test_depth_first_takes_the_oldest_thread_first():
    window = Window(10, depth_first=True)
    for seq, thread_id in enumerate(("2-young", "1-old", "3-youngest", "1-old"), start=1):
        window.add(message(seq, thread_id))
    assert taken(window) == [2, 1, 3]
    window.settle(2)
    assert window.ready.rank() == ("1-old", 4)


def test_an_unloaded_window_keeps_what_is_in_flight_and_reads_the_rest_again():
    window = Window(10)
    for seq, thread_id in enumerate("aab", start=1):
        window.add(message(seq, thread_id))
    window.take("cell")
    window.unload()
    assert (len(window.ready), window.depth, window.overflow) == (0, 3, True)
    window.refill([Pending(message(seq, thread_id), 0) for seq, thread_id in enumerate("aab", start=1)], all_read=True)
    assert taken(window) == [3]
    window.settle(1)
    assert taken(window) == [2]


def test_a_changed_order_holds_for_what_is_ready_already():
    window = Window(10)
    for seq, thread_id in enumerate(("2", "1", "3"), start=1):
        window.add(message(seq, thread_id))
    window.arrange(10, depth_first=True)
    assert taken(window) == [2, 1, 3]


@pytest.mark.parametrize("depth_first", [False, True])
def test_a_changed_size_holds_from_now_on(depth_first):
    window = Window(1, depth_first=depth_first)
    window.arrange(2, depth_first=depth_first)
    for seq in (1, 2, 3):
        window.add(message(seq, f"t{seq}"))
    assert taken(window) == [1, 2]


class AgainstTheLog(RuleBasedStateMachine):
    """The window of a queue in a log: whatever happens, each message leaves once, in its thread's order.

    `log`: seq → thread of what waits. `told`: up to where the window knows of commits; the storage may be ahead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(3)
        self.log: dict[int, str] = {}
        self.deaths: dict[int, int] = {}
        self.last_seq = 0
        self.told = 0
        self.flying: dict[int, str] = {}
        self.dead: dict[int, str] = {}
        self.requeued: set[int] = set()
        self.has_grown = False

    @rule(threads=st.lists(st.sampled_from("abcd"), min_size=1, max_size=6))
    def store(self, threads: list[str]) -> None:
        """The storage has them; the pump has not been told yet."""
        if self.told < self.last_seq:
            self.tell()
        for thread_id in threads:
            self.last_seq += 1
            self.log[self.last_seq] = thread_id

    @precondition(lambda self: self.told < self.last_seq)
    @rule()
    def tell(self) -> None:
        for seq in range(self.told + 1, self.last_seq + 1):
            self.window.add(message(seq, self.log[seq]))
        self.told = self.last_seq

    @precondition(lambda self: self.window.wants_refill)
    @rule()
    def refill(self) -> None:
        room = self.window.room
        behind = [seq for seq in sorted(self.log) if seq > self.window.loaded_to][:room]
        pending = [Pending(message(seq, self.log[seq]), self.deaths.get(seq, 0)) for seq in behind]
        self.window.refill(pending, all_read=len(pending) < room)

    @precondition(lambda self: len(self.window.ready) > 0)
    @rule()
    def take(self) -> None:
        entry = self.window.take("cell")
        seq, thread_id = entry.message.seq, entry.message.thread_id
        assert seq not in self.flying
        assert thread_id not in self.flying.values()
        assert self.log[seq] == thread_id
        earlier = [each for each, other in self.log.items() if other == thread_id and each < seq]
        assert set(earlier) <= self.requeued
        assert entry.deaths == self.deaths.get(seq, 0)
        self.flying[seq] = thread_id

    @precondition(lambda self: self.flying and self.told == self.last_seq)
    @rule(data=st.data(), fails=st.booleans())
    def settle(self, data: st.DataObject, fails: bool) -> None:
        """The pump hears of a commit before it hears of what handlers made of it."""
        seq = data.draw(st.sampled_from(sorted(self.flying)))
        self.window.settle(seq)
        thread_id = self.flying.pop(seq)
        del self.log[seq]
        if fails:
            self.dead[seq] = thread_id

    @precondition(lambda self: self.dead and self.told == self.last_seq)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        seq = data.draw(st.sampled_from(sorted(self.dead)))
        self.log[seq] = self.dead.pop(seq)
        self.deaths.pop(seq, None)
        self.requeued.add(seq)
        self.window.requeue(message(seq, self.log[seq]))
        self.has_grown = True

    @precondition(lambda self: self.flying and self.told == self.last_seq)
    @rule()
    def cell_dies(self) -> None:
        for seq in sorted(self.flying, reverse=True):
            entry = self.window.in_flight[seq]
            self.deaths[seq] = entry.deaths + 1
            self.window.give_back(entry._replace(deaths=entry.deaths + 1))
        self.flying.clear()
        self.has_grown = True

    @precondition(lambda self: self.told == self.last_seq)
    @rule(thread_id=st.sampled_from("abcd"))
    def kill(self, thread_id: str) -> None:
        gone = [seq for seq, other in self.log.items() if other == thread_id]
        self.window.depth -= len(gone)
        assert {entry.message.seq for entry in self.window.drop_thread(thread_id)} == set(gone) & set(self.flying)
        for seq in gone:
            del self.log[seq]
            self.flying.pop(seq, None)
        self.dead = {seq: other for seq, other in self.dead.items() if other != thread_id}

    @precondition(lambda self: self.told == self.last_seq)
    @rule()
    def unload(self) -> None:
        self.window.unload()

    @rule(depth_first=st.booleans(), size=st.integers(1, 4))
    def arrange(self, depth_first: bool, size: int) -> None:
        self.window.arrange(size, depth_first=depth_first)
        self.has_grown = True

    @invariant()
    def holds_what_the_log_says(self) -> None:
        untold = self.last_seq - self.told
        assert self.window.depth == len(self.log) - untold
        assert set(self.window.in_flight) == set(self.flying)
        if not self.has_grown:
            assert self.window.room >= 0

    def teardown(self) -> None:
        """In the end all of it is delivered."""
        if self.told < self.last_seq:
            self.tell()
        while self.log:
            if self.window.wants_refill:
                self.refill()
            while len(self.window.ready):
                self.take()
            assert self.flying, "nothing moves any more"
            for seq in sorted(self.flying):
                self.window.settle(seq)
                del self.log[seq]
            self.flying.clear()
        assert self.window.depth == 0


AgainstTheLog.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAgainstTheLog = AgainstTheLog.TestCase
