"""What can be wrong with a request itself, before the organism is asked. Status codes are in error_handlers.py."""

from __future__ import annotations

from organism.errors import OrganismError, Overloaded, Refused


class BadRequest(OrganismError):
    """The request cannot be understood."""

    code = "bad_request"


class AccessNotServed(OrganismError):
    """This API was built without keys and audit log."""

    code = "access_not_served"

    def __str__(self) -> str:
        return "this API has no keys and no audit log; start it with `organism up`"


class MalformedBody(BadRequest):
    """The body or frame is no JSON object (or no XML); `reason` is the parser's."""

    code = "malformed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot be read: {self.reason}"


class InvalidRequest(BadRequest):
    """Fields are missing, unknown or wrong; one `(path, text)` each, the path dotted."""

    code = "invalid_request"

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(f"{path or 'request'}: {text}" for path, text in self.problems)


class BodyTooLarge(BadRequest):
    """The body, frame or payload is longer than the limit named in `setting` allows."""

    code = "too_large"

    def __init__(self, what: str, max_bytes: int, setting: str) -> None:
        super().__init__(what, max_bytes, setting)
        self.what = what
        self.max_bytes = max_bytes
        self.setting = setting

    def __str__(self) -> str:
        return f"the {self.what} is larger than {self.max_bytes} bytes; shorten it or raise {self.setting}"


class UnsupportedMediaType(BadRequest):
    """The body is of a type that this route does not take."""

    code = "unsupported_media_type"

    def __init__(self, content_type: str, taken: str = "application/json or application/xml") -> None:
        super().__init__(content_type, taken)
        self.content_type = content_type
        self.taken = taken

    def __str__(self) -> str:
        return f"cannot take a body of type {self.content_type or '(none)'!r}; send Content-Type: {self.taken}"


class PayloadClassMissing(OrganismError):
    """This API replica cannot import the agent's payload class, and so cannot check what the agent is sent."""

    code = "payload_class_missing"

    def __init__(self, agent: str, reason: str) -> None:
        super().__init__(agent, reason)
        self.agent = agent
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the payload class of {self.agent!r} cannot be loaded here: {self.reason}; "
            "keep it in a module that needs no packages beyond those of the API"
        )


class ReplicaBusy(Overloaded):
    """As many injects or streams wait in this API replica as it can hold."""

    code = "replica_busy"

    def __init__(self, what: str, most: int) -> None:
        super().__init__(what, most)
        self.what = what
        self.most = most

    def __str__(self) -> str:
        return f"this API replica holds {self.most} {self.what} already; try again in a moment"


class ReplicaClosing(Refused):
    """This API replica is being shut down; another one answers."""

    code = "replica_closing"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "this API replica is closing; send again"


class SessionsNotServed(OrganismError):
    """This API was started without agent sessions."""

    code = "sessions_not_served"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return "agent sessions are not served here; start the organism with `organism up` to have them"


class LibrarianNotServed(OrganismError):
    """This API was started without a librarian, or its configuration switches it off."""

    code = "librarian_not_served"

    def __init__(self) -> None:
        super().__init__()

    def __str__(self) -> str:
        return (
            "the librarian is not served here; start the organism with `organism up`, "
            "and without `librarian: {enabled: false}` in organism.yaml"
        )
