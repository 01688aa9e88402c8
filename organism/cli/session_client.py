"""The client of agent sessions, as commands use it: its failures are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from organism.cli.client import find_url
from organism.cli.credentials import find_credentials
from organism.cli.failures import (
    CliFailure,
    ConnectionTrouble,
    ExitCode,
    NothingAnswers,
    NotTrusted,
    WrongUse,
    with_remedy,
)
from organism.client import ApiError, AsyncClient, CertificateRefused, Client, ClientError, TimedOut, Unreachable


@contextmanager
def open_client(url: str | None) -> Iterator[Client]:
    """The organism's sessions. What goes wrong below raises CliFailure."""
    address = find_url(url)
    credentials = find_credentials()
    with failures(address), _usable():
        client = Client(address, api_key=credentials.api_key, ca_file=credentials.ca_file)
    with failures(address), client:
        yield client


def async_client(url: str | None) -> AsyncClient:
    """The same for those who await. Raises CliFailure."""
    credentials = find_credentials()
    with _usable():
        return AsyncClient(find_url(url), api_key=credentials.api_key, ca_file=credentials.ca_file)


@contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise WrongUse(str(error)) from error


@contextmanager
def failures(url: str) -> Iterator[None]:
    """Turns the client's errors into what ends a command."""
    try:
        yield
    except ApiError as error:
        message = with_remedy(error.status, error.text, url, error.retry_after_s)
        raise CliFailure(message, ExitCode.REFUSED, error.code, error.details) from error
    except CertificateRefused as error:
        raise NotTrusted(error.url, error.reason) from error
    except Unreachable as error:
        raise NothingAnswers(error.url) from error
    except TimedOut as error:
        raise ConnectionTrouble(f"{error}; try again", ExitCode.TIMED_OUT, "timed_out") from error
    except ClientError as error:
        raise ConnectionTrouble(str(error), code="broken") from error
