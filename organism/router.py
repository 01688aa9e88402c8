"""Who may send what to whom. Pure: from the configuration and an output to the recipients, or to a breach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from organism.config import Listener
from organism.messages import CONSOLE
from organism.threads import extend, prune
from organism.wire import Output

SYSTEM_ERROR = "SystemError"


class Target(NamedTuple):
    """Who gets a message, and its call chain there. is_outside: it is for the console and only stands in the log."""

    recipient: str
    callers: str
    is_outside: bool = False


class Breach(NamedTuple):
    """Why an output cannot be delivered. For the operator only: the sender learns nothing about the organism."""

    reason: str


class Router:
    """The listeners' names, peers and accepted payload types.

    leaving: listeners that were removed and finish what they run: bound to their peers, and nobody's recipient.
    Until a handler has been loaded nobody knows all the types it takes; messages to it pass then, and its cell judges.
    """

    def __init__(self, listeners: Iterable[Listener], leaving: Iterable[Listener] = ()) -> None:
        self._listeners: dict[str, Listener] = {each.name: each for each in listeners}
        self._accepts: dict[str, frozenset[str]] = {
            each.name: frozenset({_class_name(each)}) for each in self._listeners.values()
        }
        self._not_loaded: set[str] = set(self._listeners)
        self._peers: dict[str, frozenset[str] | None] = {
            each.name: frozenset({*each.peers, each.name}) if each.agent or each.peers else None
            for each in (*leaving, *self._listeners.values())
        }

    def knows(self, name: str) -> bool:
        return name in self._listeners

    def accepts(self, name: str, payload_type: str) -> bool:
        """Whether the handler is known to take this type."""
        return payload_type in self._accepts.get(name, ())

    def learn(self, accepts: Mapping[str, Iterable[str]]) -> None:
        """Takes note of the payload types that loaded handlers declare beyond their listener's own class."""
        for name, types in accepts.items():
            if name in self._accepts:
                self._accepts[name] |= frozenset(types)
                self._not_loaded.discard(name)

    def route(self, sender: str, callers: str, output: Output) -> list[Target] | Breach:
        """The recipients of an output of `sender`, who was called through `callers`."""
        if output.is_reply:
            return self._reply(callers, output)
        if output.to is None:
            return self._broadcast(sender, callers, output)
        return self._send(sender, callers, output)

    def _send(self, sender: str, callers: str, output: Output) -> list[Target] | Breach:
        to = output.to or ""
        peers = self._peers.get(sender)
        if peers is not None and to not in peers:
            return Breach(f"{sender!r} sent {output.payload_type} to {to!r}, which is not among its peers")
        if to not in self._listeners:
            if to == CONSOLE:
                return [Target(to, extend(callers, sender), is_outside=True)]
            return Breach(f"{sender!r} sent {output.payload_type} to {to!r}, which does not exist")
        if not self._may_take(to, output.payload_type):
            return Breach(f"{sender!r} sent {output.payload_type} to {to!r}, which takes {self._taken_by(to)}")
        return [Target(to, extend(callers, sender))]

    def _broadcast(self, sender: str, callers: str, output: Output) -> list[Target] | Breach:
        peers = self._peers.get(sender)
        chain = extend(callers, sender)
        targets = [
            Target(each.name, chain)
            for each in self._listeners.values()
            if each.broadcast
            and output.payload_type in self._accepts[each.name]
            and (peers is None or each.name in peers)
        ]
        if not targets:
            return Breach(f"{sender!r} broadcast {output.payload_type}, for which no peer listens with broadcast: true")
        return targets

    def _reply(self, callers: str, output: Output) -> list[Target] | Breach:
        caller, rest = prune(callers)
        if not caller:
            return Breach(f"a reply of {output.payload_type} has no caller left to go to")
        if caller == CONSOLE and not rest:  # where every chain begins, also when a listener has that name
            return [Target(caller, rest, is_outside=True)]
        if caller not in self._listeners:
            return Breach(f"a reply of {output.payload_type} goes to {caller!r}, which does not exist any more")
        if not self._may_take(caller, output.payload_type):
            return Breach(f"a reply of {output.payload_type} goes to {caller!r}, which takes {self._taken_by(caller)}")
        return [Target(caller, rest)]

    def _may_take(self, name: str, payload_type: str) -> bool:
        return name in self._not_loaded or payload_type in self._accepts[name]

    def _taken_by(self, name: str) -> str:
        return " or ".join(sorted(self._accepts[name]))


def _class_name(listener: Listener) -> str:
    return listener.payload_class.rpartition(".")[2]
