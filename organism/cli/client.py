"""The REST API of a running organism, and where to find it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson

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
from organism.cli.own_launcher import is_own_launcher
from organism.client.address import is_address, may_use_proxy
from organism.client.credentials import Credentials, is_untrusted

DEFAULT_URL = "http://127.0.0.1:8000"
RUN_FILE = Path(".organism") / "run.json"
_PAGE = 1000  # entries, the most that one list answers
_PAGE_KEYS = ("messages", "count", "total", "limit", "offset")


@dataclass(frozen=True, slots=True)
class RunFile:
    """What a running organism tells about itself in its folder."""

    url: str
    pid: int
    namespace: str
    dashboard: str | None


def read_run_file(folder: Path) -> RunFile | None:
    """The run file of an organism's folder; None where there is none, or none that can be read."""
    try:
        found = orjson.loads((folder / RUN_FILE).read_bytes())
        return RunFile(
            str(found["url"]).rstrip("/"), int(found["pid"]), str(found["namespace"]), found.get("dashboard")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find_url(url: str | None) -> str:
    """The address to use: the given one, the one `organism up` wrote in this folder, or the default."""
    if url is None:
        run_file = read_run_file(Path.cwd())
        if run_file is not None:
            _require_known(run_file)
        return run_file.url if run_file else DEFAULT_URL
    if not is_address(url):
        raise WrongUse(f"{url!r} is no address; give it as http://host:port")
    return url.rstrip("/")


def _require_known(run_file: RunFile) -> None:
    """A folder that came from elsewhere could name a server there, which would then be sent the key.

    Raises:
        WrongUse: the organism is neither on this machine's loopback nor this user's.
    """
    if is_address(run_file.url) and may_use_proxy(run_file.url) and not is_own_launcher(run_file.pid):
        raise WrongUse(
            f"{RUN_FILE} names an organism at {run_file.url} that you have not started here; "
            f"if it is the one you mean, give --url {run_file.url}"
        )


def own_launcher(url: str) -> int | None:
    """The process id of the launcher of the organism at `url`; None where this folder does not know it, or where it
    is another user's."""
    run_file = read_run_file(Path.cwd())
    if run_file is None or run_file.url != url or not is_own_launcher(run_file.pid):
        return None
    return run_file.pid


class RefusedByApi(CliFailure):
    """The API answered with an error, or with something that is not its own."""

    def __init__(self, response: httpx.Response, url: str) -> None:
        code, message, details = _error_of(response)
        message = with_remedy(response.status_code, message, url, _retry_after_s(response))
        super().__init__(message, ExitCode.REFUSED, code, details)
        self.status_code = response.status_code


def _error_of(response: httpx.Response) -> tuple[str, str, Any]:
    try:
        error = orjson.loads(response.content)["error"]
        return str(error["code"]), str(error["message"]), error.get("details")
    except (ValueError, KeyError, TypeError, AttributeError):
        said = response.text.strip()[:500] or response.reason_phrase
        request = response.request
        return "http", f"{request.method} {request.url} answered {response.status_code}: {said}", None


def _retry_after_s(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() else None


class Api:
    """Asks and tells one organism; a context manager, so that its connection is closed.

    Every call raises NothingAnswers, RefusedByApi or another CliFailure. Redirects are not followed, so that the key
    goes nowhere else. credentials: those of the environment by default.
    """

    def __init__(self, url: str | None, timeout_s: float = 60.0, *, credentials: Credentials | None = None) -> None:
        self.url = find_url(url)
        self.credentials = find_credentials() if credentials is None else credentials
        self._timeout_s = timeout_s
        try:
            verify = self.credentials.verifies(self.url)
        except ValueError as error:
            raise WrongUse(f"ORGANISM_CA_FILE: {error}") from error
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers=self.credentials.headers,
            timeout=timeout_s,
            trust_env=may_use_proxy(self.url),
            verify=verify,
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, *path: str, **params: Any) -> dict[str, Any]:
        """The document at this path, of which each part is quoted; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._call("GET", path, params=given)

    def post(self, *path: str, body: Any = None) -> dict[str, Any]:
        return self._call("POST", path, json=body) if body is not None else self._call("POST", path)

    def thread(self, thread_id: str) -> dict[str, Any]:
        """The record of a thread, without its messages."""
        answer = self.get("threads", thread_id, limit=1)
        return {key: value for key, value in answer.items() if key not in _PAGE_KEYS}

    def thread_messages(self, thread_id: str, offset: int = 0) -> Iterator[dict[str, Any]]:
        """The messages of a thread from this slot on, page by page."""
        while True:
            messages = self.get("threads", thread_id, "messages", limit=_PAGE, offset=offset)["messages"]
            yield from messages
            if len(messages) < _PAGE:
                return
            offset += len(messages)

    def last_seq(self) -> int:
        """The position of the newest message of the log; 0 when it is empty."""
        newest = self.get("messages", limit=1, order="desc")["messages"]
        return newest[0]["seq"] if newest else 0

    def _call(self, method: str, path: tuple[str, ...], **options: Any) -> dict[str, Any]:
        response = self._send(method, "/".join(quote(part, safe="") for part in path), options)
        if not response.is_success:
            raise RefusedByApi(response, self.url)
        try:
            return orjson.loads(response.content)
        except ValueError:
            raise CliFailure(
                f"{self.url} does not speak the organism API; check --url", code="not_an_organism"
            ) from None

    def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if is_untrusted(error):
                raise NotTrusted(self.url, str(error)) from error
            raise NothingAnswers(self.url) from error
        except httpx.TimeoutException as error:
            message = f"{self.url} did not answer within {self._timeout_s:g} s; try again"
            raise ConnectionTrouble(message, ExitCode.TIMED_OUT, "timed_out") from error
        except httpx.InvalidURL as error:
            raise WrongUse(f"{self.url!r} is no address: {error}") from error
        except httpx.TransportError as error:
            message = f"the connection to {self.url} broke ({error}); try again"
            raise ConnectionTrouble(message, code="broken") from error


def answers(url: str) -> bool:
    """Whether anything at all listens there; an error status or a silence counts, a refused connection does not."""
    try:
        _look(url, "health")
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return False
    except httpx.TransportError:
        return True
    return True


def is_ready(url: str) -> bool:
    """Whether pump and storage answer."""
    try:
        return _look(url, "ready").is_success
    except httpx.TransportError:
        return False


def _look(url: str, path: str) -> httpx.Response:
    """Certificates are not looked at: nothing is sent that others may not know, and an expired one answers, too."""
    return httpx.get(f"{url}/{path}", timeout=5.0, trust_env=may_use_proxy(url), verify=False)
