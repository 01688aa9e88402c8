"""Agent sessions of an organism, and its librarian, from Python: `Client` blocks, `AsyncClient` is awaited.

Events are those of organism.sessions.events; one of a type that this version does not know is an UnknownEvent.
"""

from organism.client.answers import Answer, Models, OfferedAgent, SessionPage
from organism.client.async_client import AsyncClient, AsyncSession
from organism.client.blocking import Client, Librarian, Session
from organism.client.errors import (
    ApiError,
    BadRequest,
    Busy,
    ClientError,
    ConnectionLost,
    IngestFailed,
    LibraryUnusable,
    LimitReached,
    ModelFailed,
    NotFound,
    SessionNotFound,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from organism.client.events import Event, UnknownEvent
from organism.client.librarian import AsyncLibrarian
from organism.client.library_answers import (
    AnswerDelta,
    AnswerEvent,
    AnswerSources,
    CodeAnswer,
    CodeChunk,
    CodeFile,
    CodeSource,
    CodeSymbol,
    Found,
    IngestJob,
    IngestResult,
    LibraryDetails,
    LibrarySummary,
)

__all__ = [
    "Answer",
    "AnswerDelta",
    "AnswerEvent",
    "AnswerSources",
    "ApiError",
    "AsyncClient",
    "AsyncLibrarian",
    "AsyncSession",
    "BadRequest",
    "Busy",
    "Client",
    "ClientError",
    "CodeAnswer",
    "CodeChunk",
    "CodeFile",
    "CodeSource",
    "CodeSymbol",
    "ConnectionLost",
    "Event",
    "Found",
    "IngestFailed",
    "IngestJob",
    "IngestResult",
    "Librarian",
    "LibraryDetails",
    "LibrarySummary",
    "LibraryUnusable",
    "LimitReached",
    "ModelFailed",
    "Models",
    "NotFound",
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
