"""One listener's queue as the pump holds it: a window of what waits in the log, and what is being handled.

The log holds the whole queue; this holds at most about `size` messages of it. Messages of one thread leave one at
a time, in log order: the next becomes ready when the one before it is settled.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import NamedTuple, Protocol

from organism.messages import Message
from organism.storage.base import Pending


class InFlight(NamedTuple):
    """A message that a cell has; `incarnation` says which, `deaths` how many cells died with it before."""

    message: Message
    incarnation: str
    deaths: int


class Ready(Protocol):
    """An order of delivery: at most one message of each thread."""

    def push(self, pending: Pending, /) -> None: ...

    def push_first(self, pending: Pending, /) -> None: ...

    def first(self) -> Pending: ...

    def pop(self) -> Pending: ...

    def rank(self) -> tuple[str, int]:
        """Of the first message: among several agents the lowest goes first."""
        ...

    def remove(self, thread_id: str) -> int: ...

    def __len__(self) -> int: ...


class BreadthFirst:
    """Log order: all threads advance side by side."""

    def __init__(self) -> None:
        self._queue: deque[Pending] = deque()
        self.push = self._queue.append
        self.push_first = self._queue.appendleft
        self.pop = self._queue.popleft

    def first(self) -> Pending:
        return self._queue[0]

    def rank(self) -> tuple[str, int]:
        return ("", self._queue[0].message.seq)

    def remove(self, thread_id: str) -> int:
        kept = [each for each in self._queue if each.message.thread_id != thread_id]
        removed = len(self._queue) - len(kept)
        self._queue.clear()
        self._queue.extend(kept)
        return removed

    def __len__(self) -> int:
        return len(self._queue)


class DepthFirst:
    """Older threads first: what was begun is finished before something new is. Thread ids sort by their age."""

    def __init__(self) -> None:
        self._heap: list[tuple[str, int, Pending]] = []

    def push(self, pending: Pending, /) -> None:
        heappush(self._heap, (pending.message.thread_id, pending.message.seq, pending))

    push_first = push

    def first(self) -> Pending:
        return self._heap[0][2]

    def pop(self) -> Pending:
        return heappop(self._heap)[2]

    def rank(self) -> tuple[str, int]:
        return self._heap[0][:2]

    def remove(self, thread_id: str) -> int:
        before = len(self._heap)
        self._heap = [each for each in self._heap if each[0] != thread_id]
        heapify(self._heap)
        return before - len(self._heap)

    def __len__(self) -> int:
        return len(self._heap)


class Window:
    """Ready messages, the followers of threads at work, and messages in flight by seq.

    depth: messages that wait in the log, in flight included. overflow: some of them are not in memory; those come
    behind `loaded_to`.
    """

    def __init__(self, size: int, *, depth: int = 0, depth_first: bool = False) -> None:
        self.depth = depth
        self.in_flight: dict[int, InFlight] = {}
        self.overflow = depth > 0
        self.loaded_to = 0
        self.ready: Ready = DepthFirst() if depth_first else BreadthFirst()
        self._size = size
        self._held = 0  # ready and followers
        self._followers: dict[str, deque[Pending] | None] = {}  # by thread that has a message ready or in flight

    @property
    def wants_refill(self) -> bool:
        """Whether messages of the log should be read into memory now."""
        return self.overflow and self._held <= self._size // 2

    @property
    def room(self) -> int:
        return self._size - self._held

    def add(self, message: Message) -> None:
        """A message was committed: keeps it, or leaves it in the log where the window is full."""
        self.depth += 1
        if message.seq <= self.loaded_to:
            return  # a refill came upon it in the log before the pump was told of the commit
        if self.overflow or self._held >= self._size:
            self.overflow = True
            return
        self.loaded_to = message.seq
        self._put(Pending(message, 0))

    def refill(self, pending: list[Pending], *, all_read: bool) -> None:
        """Takes what was read from the log behind `loaded_to`; `all_read`: nothing waits behind it."""
        for each in pending:
            self.loaded_to = each.message.seq
            if each.message.seq not in self.in_flight:
                self._put(each)
        self.overflow = not all_read

    def requeue(self, message: Message) -> None:
        """A dead letter waits again: it is taken at once, unless a refill will come upon it."""
        self.depth += 1
        if self._holds(message):
            self._put(Pending(message, 0))

    def take(self, incarnation: str) -> InFlight:
        """Puts the next ready message in flight, to the cell `incarnation`."""
        message, deaths = self.ready.pop()
        self._held -= 1
        entry = InFlight(message, incarnation, deaths)
        self.in_flight[message.seq] = entry
        return entry

    def settle(self, seq: int) -> None:
        """The message in flight is done; its thread's next one becomes ready."""
        entry = self.in_flight.pop(seq)
        self.depth -= 1
        self._release(entry.message.thread_id)

    def give_back(self, entry: InFlight) -> None:
        """The cell died: the message becomes ready again, first of all. Give back younger ones first."""
        del self.in_flight[entry.message.seq]
        if self._holds(entry.message):
            self._held += 1
            self.ready.push_first(Pending(entry.message, entry.deaths))
        else:
            self._release(entry.message.thread_id)

    def drop_thread(self, thread_id: str) -> list[InFlight]:
        """Forgets a killed thread; returns what was in flight. The caller lowers `depth` by the log's count."""
        flying = [entry for entry in self.in_flight.values() if entry.message.thread_id == thread_id]
        for entry in flying:
            del self.in_flight[entry.message.seq]
        followers = self._followers.pop(thread_id, None)
        self._held -= len(followers or ()) + self.ready.remove(thread_id)
        return flying

    def unload(self) -> None:
        """Leaves all but what is in flight to the log."""
        self.ready = type(self.ready)()
        self.loaded_to = 0
        self.overflow = self.depth > len(self.in_flight)
        self._held = 0
        self._followers = {entry.message.thread_id: None for entry in self.in_flight.values()}

    def arrange(self, size: int, *, depth_first: bool) -> None:
        """Takes over changed limits: what is ready leaves in the new order."""
        self._size = size
        ready: Ready = DepthFirst() if depth_first else BreadthFirst()
        if type(ready) is type(self.ready):
            return
        waiting = [self.ready.pop() for _ in range(len(self.ready))]
        for pending in sorted(waiting, key=lambda each: each.message.seq):
            ready.push(pending)
        self.ready = ready

    def _holds(self, message: Message) -> bool:
        """Whether a message that waits in the log again belongs in memory now: else a refill will come upon it."""
        if not self.overflow:
            self.loaded_to = max(self.loaded_to, message.seq)  # nothing that is not here is left in the log
        return message.seq <= self.loaded_to

    def _put(self, pending: Pending) -> None:
        self._held += 1
        thread_id = pending.message.thread_id
        followers = self._followers.get(thread_id, self)
        if followers is self:
            self._followers[thread_id] = None
            self.ready.push(pending)
        elif isinstance(followers, deque):
            followers.append(pending)
        else:
            self._followers[thread_id] = deque((pending,))

    def _release(self, thread_id: str) -> None:
        followers = self._followers.pop(thread_id, None)
        if followers:
            self.ready.push(followers.popleft())
            self._followers[thread_id] = followers or None
