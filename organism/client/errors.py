"""Every error of the client, one tree:

ClientError
├── ApiError               the server refused, or failed
│   ├── BadRequest         400, 413, 415: a field is missing or malformed; the text names it
│   ├── Unauthenticated    401: no key, or none that the server takes
│   ├── Forbidden          403: the key may not do this; the text names the role that may
│   ├── NotFound           404: no such library, chunk, file or ingest
│   │   └── SessionNotFound
│   ├── LibraryUnusable    409, 500: made with another embedder, or damaged; the text says to ingest it again
│   ├── IngestFailed       the repository could not be ingested; the library is as it was
│   ├── Busy               409: a run is under way in this session, or elsewhere on an exclusive server
│   ├── LimitReached       429: `retry_after_s`
│   │   └── RateLimited    more requests than this key may send
│   ├── ModelFailed        502: the text says which model and why
│   └── Unavailable        503: storage or organism cannot be used at present
├── Unreachable            nothing answers at the address
├── CertificateRefused     the server shows a certificate of an authority that is not trusted
├── TimedOut               no answer in time
├── ConnectionLost         the connection broke, and could not be made again in time
└── UnexpectedAnswer       this is not the API of an organism

Each takes exactly the arguments it passes on to `super().__init__`, so that it survives pickling.
"""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Base of all errors raised by organism.client."""


class ApiError(ClientError):
    """The server answered with an error status; `code` is stable, `text` says what happened and what to do.

    retry_after_s: how long the server asks to wait, None where it does not say. running_session_id: what an exclusive
    server is busy with.
    """

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        details: Any = None,
        retry_after_s: float | None = None,
        running_session_id: str | None = None,
    ) -> None:
        super().__init__(status, code, text, details, retry_after_s, running_session_id)
        self.status = status
        self.code = code
        self.text = text
        self.details = details
        self.retry_after_s = retry_after_s
        self.running_session_id = running_session_id

    def __str__(self) -> str:
        return self.text


class BadRequest(ApiError):
    """A field is missing, malformed or too large."""


class Unauthenticated(ApiError):
    """The server needs a key and was sent none, or one that it does not take (unknown, expired, revoked)."""

    def __str__(self) -> str:
        return f"{self.text}; a client takes it as api_key, or from ORGANISM_API_KEY"


class Forbidden(ApiError):
    """The key is good, and may not do this: another role is needed, or it is bound to other things."""


class NotFound(ApiError):
    """What is asked for is not there."""


class SessionNotFound(NotFound):
    """There is no session with this id."""


class LibraryUnusable(ApiError):
    """The library was made with another embedder, or its files are damaged; ingesting it again mends both."""


class IngestFailed(ApiError):
    """The repository could not be ingested; the library is as it was. `status` is 200 where a job tells of it."""


class Busy(ApiError):
    """Another run has to end first, or to be aborted."""


class LimitReached(ApiError):
    """Too much at present; the same request may be taken after `retry_after_s`."""


class RateLimited(LimitReached):
    """More requests than this key may send; `retry_after_s` says how long to wait."""


class ModelFailed(ApiError):
    """The model provider failed."""


class Unavailable(ApiError):
    """Storage or organism cannot be used at present."""


KIND_OF_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: SessionNotFound,
    409: Busy,
    413: BadRequest,
    415: BadRequest,
    422: BadRequest,
    429: LimitReached,
    502: ModelFailed,
    503: Unavailable,
    504: Unavailable,
}

KIND_OF_CODE: dict[str, type[ApiError]] = {
    "library_not_found": NotFound,
    "chunk_not_found": NotFound,
    "file_not_found": NotFound,
    "job_not_found": NotFound,
    "library_damaged": LibraryUnusable,
    "embedder_mismatch": LibraryUnusable,
    "source_refused": IngestFailed,
    "source_unavailable": IngestFailed,
    "ingest_cancelled": IngestFailed,
    "ingest_interrupted": IngestFailed,
    "rate_limited": RateLimited,
}
"""Where the status alone does not tell; asked first."""


class Unreachable(ClientError):
    """Nothing listens at this address; nothing was sent."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"nothing answers at {self.url} ({self.reason}); start it with `organism up`"


class CertificateRefused(ClientError):
    """The server shows a certificate that is not trusted; nothing was sent."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the certificate of {self.url} is not trusted ({self.reason}); "
            "name the file of its authority in ORGANISM_CA_FILE"
        )


class TimedOut(ClientError):
    """The server did not answer in time; it may have done what it was asked."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout_s)
        self.url = url
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"{self.url} did not answer within {self.timeout_s:g} s"


class ConnectionLost(ClientError):
    """The connection broke before the answer was complete; the server may have done what it was asked."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"the connection to {self.url} broke ({self.reason}); a run that was begun goes on there"


class UnexpectedAnswer(ClientError):
    """What answers does not speak the API of an organism."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem)
        self.url = url
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.url} does not speak the API of an organism ({self.problem}); check the address"
