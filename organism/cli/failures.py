"""What ends a command early: one exception that carries what to say and the exit code."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import orjson

from organism.masking import mask, mask_text


class ExitCode(IntEnum):
    """What the process answers; 2 and 130 are the shell's own conventions."""

    FAILED = 1
    USAGE = 2
    REFUSED = 3
    INVALID = 4
    TIMED_OUT = 5
    THREAD_FAILED = 6


EXIT_CODES = """Exit codes:

0 done

1 nothing answers, or the organism did not start

2 the command was used wrongly

3 the API refused; its message is shown

4 organism.yaml is not valid

5 not finished within --timeout-s

6 the thread that was waited for ended in error or was killed

130 interrupted"""


class CliFailure(Exception):
    """The command cannot do what was asked; `str()` says why and what to do.

    `code` and `details` are for --json, in the form of the API's errors.
    """

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED, code: str = "failed", details: Any = None):
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.details = details

    def to_json(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": mask_text(str(self))}
        if self.details is not None:
            error["details"] = mask(self.details)
        return {"error": error}

    def detail_lines(self) -> list[str]:
        """The details for people, one fact a line, without those that the message tells already."""
        if self.details is None:
            return []
        if isinstance(self.details, dict):
            return [f"{key}: {_inline(value)}" for key, value in self.details.items()]
        details = self.details if isinstance(self.details, list) else [self.details]
        return [_inline(each) for each in details if not self._tells(each)]

    def _tells(self, detail: Any) -> bool:
        """Whether the message holds this problem of the API, as the messages of the pump and of reload do."""
        problem = detail.get("problem") if isinstance(detail, dict) else None
        return problem is not None and problem in str(self)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_inline(each)}" for key, each in value.items())
    return value if isinstance(value, str) else orjson.dumps(value).decode()


class ConnectionTrouble(CliFailure):
    """The organism could not be asked; the same question may be answered later."""


class NothingAnswers(ConnectionTrouble):
    """There is no organism at this address."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"nothing answers at {url}; start it with `organism up`, or tell with --url where it is",
            code="nothing_answers",
        )


class NotTrusted(ConnectionTrouble):
    """The organism shows a certificate that is not trusted."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the certificate of {url} is not trusted ({reason}); name the file of its authority in ORGANISM_CA_FILE",
            code="not_trusted",
        )


def with_remedy(status: int, message: str, url: str, retry_after_s: float | None) -> str:
    """What the API said, and what to do about it on a command line. (A 403 names the role that is needed.)"""
    if status == 401:
        return (
            f"{message}\nset ORGANISM_API_KEY to a key of the organism at {url}; "
            "`organism keys add NAME --role operator`, in its folder, makes one"
        )
    if status == 429 and retry_after_s is not None and "try again in" not in message:
        return f"{message}; try again in {retry_after_s:g} s"
    return message


class WrongUse(CliFailure):
    """An argument cannot be used as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE, "usage")
