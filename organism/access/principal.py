"""Who asks, and what that one may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

RoleName = Literal["viewer", "operator", "admin"]

ANY = "*"
"""In a set of Bounds: all there are."""


class Role(IntEnum):
    """Each may do what those before it may: read; inject, steer and have sessions; change what runs and who may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, name: str) -> Role:
        """By its label and by nothing that is merely like it. Raises: KeyError."""
        return {role.label: role for role in cls}[name]


class Bounds(NamedTuple):
    """What a key is bound to, by names and ids; `*` stands for all, of sessions for its own. It reaches nothing
    else."""

    agents: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()

    def to_api(self) -> dict[str, list[str]]:
        return {kind: sorted(names) for kind, names in self._asdict().items()}


def allows(names: frozenset[str], name: str) -> bool:
    return name in names or ANY in names


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    id: `key:<name>`, `user:<sub of the token>` or `local`; what sessions belong to and limits count by.
    credential: id of the key or hash of the token, so that streams end with it; empty without authentication.
    expires_at: in milliseconds since 1970; None for never.
    """

    id: str
    role: Role
    bounds: Bounds | None = None
    credential: str = ""
    expires_at: int | None = None

    @property
    def sees_everything(self) -> bool:
        """Also the sessions of others."""
        return self.role is Role.ADMIN and self.bounds is None

    def may_reach_agent(self, name: str) -> bool:
        return self.bounds is None or allows(self.bounds.agents, name)

    def may_reach_library(self, library_id: str) -> bool:
        return self.bounds is None or allows(self.bounds.libraries, library_id)

    def may_reach_session(self, session_id: str, owner: str | None) -> bool:
        """Its own, or anyone's for an admin; within its bounds, where `*` is all of its own."""
        if self.bounds is not None:
            if ANY in self.bounds.sessions:
                return owner == self.id
            if session_id not in self.bounds.sessions:
                return False
        return owner == self.id or self.role is Role.ADMIN


LOCAL = Principal("local", Role.ADMIN)
"""Everybody, where there is no authentication."""
