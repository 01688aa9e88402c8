"""What the OpenAPI document promises, asked of a real organism by schemathesis."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import schemathesis
from conftest import served
from fake_librarian import REPOSITORY, FakeLibrarian
from fake_organism import HELLO, FakeOrganism
from fake_sessions import FakeSessions
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from organism.runtime import open_runtime
from serve_app.app import build_app


@contextmanager
def served_hello(folder: Path) -> Iterator[str]:
    """The hello organism behind a real server in a thread of its own; gives the base URL."""
    started, over = threading.Event(), threading.Event()
    addresses: list[str] = []

    async def serve() -> None:
        sessions, librarian = FakeSessions(folder / "workspace"), FakeLibrarian()
        librarian.repositories = defaultdict(lambda: REPOSITORY)  # there is none that cannot be had: no 502
        async with (
            open_runtime(folder / "organism.yaml") as organism,
            served(organism, sessions, librarian) as address,
        ):
            addresses.append(address)
            started.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://{addresses[0]}"
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("hello")
    shutil.copytree(HELLO, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    with served_hello(folder) as url:
        yield url


# Stopping would end the test; a reload of a thousand requests would only be slow; a stream of events has no end.
DOCUMENT = build_app(FakeOrganism()).openapi()
schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path_regex="/organism/(stop|reload)$|/events/stream$")
STREAM_PATHS = [path for path in DOCUMENT["paths"] if path.endswith("/events/stream")]


@pytest.mark.filterwarnings("default")
@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented_and_none_is_a_5xx(case, api):
    # A document cannot say that the agent named in one place decides what fits in another, so that
    # what is valid by the document may be refused.
    case.call_and_validate(base_url=api, excluded_checks=[positive_data_acceptance])


@pytest.mark.parametrize(
    ("parameters", "headers", "status"),
    [
        ({"after": "0"}, {}, 200),
        ({}, {"last-event-id": "1"}, 200),
        ({"after": "-1"}, {}, 400),
        ({}, {"last-event-id": "x"}, 400),
        ({"sessionId": "../x"}, {}, 404),
    ],
)
@pytest.mark.parametrize("path", STREAM_PATHS)
def test_a_stream_of_events_begins_as_documented(api, path, parameters, headers, status):
    responses = DOCUMENT["paths"][path]["get"]["responses"]
    with httpx.Client(base_url=api) as client:
        session_id = client.post("/api/sessions/create").json()["sessionId"]
        parameters = {"sessionId": session_id, **parameters}
        with client.stream("GET", path, params=parameters, headers=headers) as answer:
            assert answer.status_code == status
            assert answer.headers["content-type"].partition(";")[0] in responses[str(status)]["content"]
