"""Talking with agent sessions of an organism from Python: `Client` blocks, `AsyncClient` is awaited.

Events are those of organism.sessions.events; one of a type that this version does not know is an UnknownEvent.
"""

from organism.client.answers import Answer, Models, OfferedAgent, SessionPage
from organism.client.async_client import AsyncClient, AsyncSession
from organism.client.blocking import Client, Session
from organism.client.errors import (
    ApiError,
    BadRequest,
    Busy,
    ClientError,
    ConnectionLost,
    LimitReached,
    ModelFailed,
    SessionNotFound,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from organism.client.events import Event, UnknownEvent

__all__ = [
    "Answer",
    "ApiError",
    "AsyncClient",
    "AsyncSession",
    "BadRequest",
    "Busy",
    "Client",
    "ClientError",
    "ConnectionLost",
    "Event",
    "LimitReached",
    "ModelFailed",
    "Models",
    "OfferedAgent",
    "Session",
    "SessionNotFound",
    "SessionPage",
    "TimedOut",
    "Unavailable",
    "UnexpectedAnswer",
    "UnknownEvent",
    "Unreachable",
]
