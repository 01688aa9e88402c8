"""Which paths a filter lets through: patterns as in .gitignore, without negation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate

Part = re.Pattern[str] | None
"""What one folder or file name must be; None for `**`, any number of folders."""

States = frozenset[int]
"""How far into the pattern a path may have come."""


class PathPattern:
    """One pattern: it means the paths that it matches, and everything in a folder that it matches.

    One with a slash before its end starts at the root of the repository, another one matches at any depth. A path is
    read name by name, in time proportional to its length: a pattern of a stranger cannot keep the server busy.
    """

    def __init__(self, pattern: str) -> None:
        body = pattern.removeprefix("./").rstrip("/")
        names = [name for name in body.split("/") if name]
        if "/" not in body:
            names.insert(0, "**")
        self._parts: list[Part] = [None if name == "**" else re.compile(translate(name)) for name in names]
        self._folders: dict[str, States] = {"": self._closed({0})}

    def matches(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return len(self._parts) in self._step(self._after(folder), name)

    def _after(self, folder: str) -> States:
        states = self._folders.get(folder)
        if states is None:
            outer, _, name = folder.rpartition("/")
            states = self._folders[folder] = self._step(self._after(outer), name)
        return states

    def _step(self, states: States, name: str) -> States:
        reached: set[int] = set()
        for state in states:
            if state == len(self._parts):
                reached.add(state)
                continue
            part = self._parts[state]
            if part is None:
                reached.add(state)
            elif part.match(name):
                reached.add(state + 1)
        return self._closed(reached)

    def _closed(self, states: set[int]) -> States:
        """With those after `**`, which may stand for no folder at all."""
        for state in sorted(states):
            while state < len(self._parts) and self._parts[state] is None:
                state += 1
                states.add(state)
        return frozenset(states)


def matching(patterns: Sequence[str], paths: Sequence[str]) -> list[bool]:
    """Which of the paths one of the patterns means."""
    compiled = [PathPattern(pattern) for pattern in patterns]
    return [any(each.matches(path) for each in compiled) for path in paths]
