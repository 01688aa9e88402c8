"""The client of agent sessions, as commands use it: its failures are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from organism.cli.client import find_url
from organism.cli.failures import CliFailure, ConnectionTrouble, ExitCode, NothingAnswers
from organism.client import ApiError, Client, ClientError, TimedOut, Unreachable


@contextmanager
def open_client(url: str | None) -> Iterator[Client]:
    """The organism's sessions. What goes wrong below raises CliFailure."""
    with failures(), Client(find_url(url)) as client:
        yield client


@contextmanager
def failures() -> Iterator[None]:
    """Turns the client's errors into what ends a command."""
    try:
        yield
    except ApiError as error:
        raise CliFailure(str(error), ExitCode.REFUSED, error.code, error.details) from error
    except Unreachable as error:
        raise NothingAnswers(error.url) from error
    except TimedOut as error:
        raise ConnectionTrouble(f"{error}; try again", ExitCode.TIMED_OUT, "timed_out") from error
    except ClientError as error:
        raise ConnectionTrouble(str(error), code="broken") from error
