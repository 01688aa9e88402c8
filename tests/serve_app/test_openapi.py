"""What the OpenAPI document promises, asked of a real organism by schemathesis: by an admin, and by nobody."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import schemathesis
from conftest import served_app
from fake_librarian import REPOSITORY, FakeLibrarian
from fake_organism import HELLO, FakeOrganism
from fake_sessions import FakeSessions
from hypothesis import HealthCheck, assume, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from organism.access.desk import AccessDesk
from organism.access.keys import NewKey
from organism.access.principal import Role
from organism.config import PrincipalLimits
from organism.runtime import open_runtime
from organism.storage.access.memory import MemoryAccessStorage
from serve_app.app import build_app
from serve_app.gate import Place

LIMITS = PrincipalLimits(requests_per_s=1e6)
KEY_NAME = "of the tests, and no name that schemathesis would revoke"
OPEN = ("/health", "/ready", "/api/v1/health", "/api/v1/ready")


class Api(NamedTuple):
    """key: an admin's."""

    url: str
    key: str


@asynccontextmanager
async def hello_api(folder: Path) -> AsyncIterator[Api]:
    """The hello organism behind a real server, with access control."""
    librarian = FakeLibrarian()
    librarian.repositories = defaultdict(lambda: REPOSITORY)  # there is none that cannot be had: no 502
    sessions, desk = FakeSessions(folder / "workspace"), AccessDesk(MemoryAccessStorage(), lambda: LIMITS)
    issued = await desk.add_key(NewKey(KEY_NAME, Role.ADMIN))
    async with open_runtime(folder / "organism.yaml") as organism:
        app = build_app(organism, lambda: sessions, librarian, access_service=desk, place=Place("127.0.0.1"))
        async with served_app(app) as address:
            yield Api(f"http://{address}", issued.text)


@contextmanager
def served_hello(folder: Path) -> Iterator[Api]:
    """In a thread of its own."""
    started, over = threading.Event(), threading.Event()
    apis: list[Api] = []

    async def serve() -> None:
        async with hello_api(folder) as api:
            apis.append(api)
            started.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield apis[0]
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("hello")
    shutil.copytree(HELLO, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    with served_hello(folder) as api:
        yield api


DOCUMENT = build_app(FakeOrganism()).openapi()
whole = schemathesis.openapi.from_dict(DOCUMENT)
# Stopping would end the test; a reload of a thousand requests would only be slow; a stream of events has no end.
schema = whole.exclude(path_regex="/organism/(stop|reload)$|/events/stream$")
STREAM_PATHS = [path for path in DOCUMENT["paths"] if path.endswith("/events/stream")]


@pytest.mark.filterwarnings("default")
@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented_and_none_is_a_5xx(case, api):
    # A document cannot say that the agent named in one place decides what fits in another, so that
    # what is valid by the document may be refused.
    headers = {"x-api-key": api.key}
    case.call_and_validate(base_url=api.url, headers=headers, excluded_checks=[positive_data_acceptance])


@pytest.mark.filterwarnings("default")
@whole.exclude(path=list(OPEN)).parametrize()
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_without_a_key_every_answer_is_a_documented_401_without_data(case, api):
    """Whatever else is wrong with the request, and with keys and tokens that schemathesis makes up."""
    # A line end is in no path of Starlette's: there is no such route, which is 404 to everybody.
    assume(not any("\n" in str(each) for each in case.path_parameters.values()))
    answer = case.call(base_url=api.url)
    assert answer.status_code == 401, answer.text
    assert set(answer.json()) <= {"error", "code"}
    case.validate_response(answer, excluded_checks=[positive_data_acceptance])


@pytest.mark.parametrize("path", [path for path in DOCUMENT["paths"] if path in OPEN])
def test_what_is_open_needs_no_key(api, path):
    assert httpx.get(f"{api.url}{path}").status_code == 200


def test_every_route_but_those_of_health_documents_how_it_refuses():
    silent = {
        path
        for path, methods in DOCUMENT["paths"].items()
        for operation in methods.values()
        if not {"401", "403", "429"} <= set(operation["responses"])
    }
    assert silent <= set(OPEN)


def test_the_document_names_the_ways_to_say_who_asks():
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("name", scheme.get("scheme"))) for scheme in schemes.values()} == {
        ("apiKey", "X-API-Key"),
        ("http", "bearer"),
    }
    assert [set(each) for each in DOCUMENT["security"]] == [set(), *({name} for name in schemes)]  # or none of them


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
    with httpx.Client(base_url=api.url, headers={"x-api-key": api.key}) as client:
        session_id = client.post("/api/sessions/create").json()["sessionId"]
        parameters = {"sessionId": session_id, **parameters}
        with client.stream("GET", path, params=parameters, headers=headers) as answer:
            assert answer.status_code == status
            assert answer.headers["content-type"].partition(";")[0] in responses[str(status)]["content"]
