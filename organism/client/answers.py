"""What the session routes answer."""

from __future__ import annotations

from typing import NamedTuple

from organism.sessions.events import AssistantMessage
from organism.sessions.records import ModelChoice, SessionView
from organism.sessions.wire import ModelOffer


class Answer(NamedTuple):
    """The end of a run: the assistant's last text, and its event; where the run was aborted, what there was of it."""

    text: str
    event: AssistantMessage | None
    session_id: str


class SessionPage(NamedTuple):
    """The last changed first; `total` counts all pages."""

    sessions: list[SessionView]
    total: int


class OfferedAgent(NamedTuple):
    """What a session can be created with."""

    name: str
    description: str


class Models(NamedTuple):
    """What there is to choose from; the first agent is the default. Without a default model there is none at all."""

    offers: list[ModelOffer]
    default: ModelChoice | None
    agents: list[OfferedAgent]
