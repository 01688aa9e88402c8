"""The librarian's routes, asked of the application over libraries in memory."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from conftest import client_of, eventually, served, socket_to
from fake_librarian import REPOSITORY, FakeLibrarian
from fake_organism import FakeOrganism

from librarian import errors
from librarian.errors import LibrarianError
from librarian.values import Filters
from serve_app.librarian_errors import LIBRARIAN_STATUS, describe_librarian, librarian_status

API = "/api/v1/librarian"
URL = "https://example.org/greeter.git"

Client = httpx.AsyncClient


@pytest.fixture
async def api(organism: FakeOrganism, librarian: FakeLibrarian) -> AsyncIterator[Client]:
    async with client_of(organism, librarian=librarian) as client:
        yield client


@pytest.fixture
async def library(api: Client) -> str:
    """The path of an ingested library."""
    answer = await api.post(f"{API}/libraries", json={"git_url": URL})
    return f"{API}/libraries/{answer.json()['library_id']}"


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, which must have the shape of /api/v1."""
    error = answer.json()["error"]
    assert error.keys() <= {"code", "message", "details"}
    assert "Traceback" not in answer.text
    return answer.status_code, error["code"]


# Ingest and libraries


async def test_an_ingest_is_answered_when_it_is_done(api):
    answer = await api.post(f"{API}/libraries", json={"git_url": URL, "branch": "main", "library_name": "greeter"})
    assert answer.status_code == 200
    body = answer.json()
    assert list(body)[:6] == [
        "library_id", "library_name", "files_processed", "chunks_created", "index_built", "errors"
    ]  # fmt: skip
    assert (body["library_name"], body["files_processed"], body["index_built"]) == ("greeter", 3, True)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?wait=false", {}),
        ("", {"prefer": "respond-async"}),
        ("?wait=true", {"prefer": "handling=strict, Respond-Async; wait=1"}),
    ],
)
async def test_an_ingest_that_is_not_waited_for_is_answered_with_its_job(api, librarian, query, headers):
    librarian.gate.clear()
    answer = await api.post(f"{API}/libraries{query}", json={"git_url": URL}, headers=headers)
    job = answer.json()
    assert (answer.status_code, job["status"]) == (202, "running")
    assert answer.headers["location"] == f"{API}/jobs/{job['job_id']}"
    librarian.gate.set()

    async def status() -> object:
        return (await api.get(answer.headers["location"])).json()["status"]

    await eventually(status, "succeeded")
    done = (await api.get(answer.headers["location"])).json()
    assert done["result"]["chunks_created"] == 3


async def test_a_job_is_cancelled_once_and_whoever_waited_is_told(api, librarian):
    librarian.gate.clear()
    waiting = asyncio.create_task(api.post(f"{API}/libraries", json={"git_url": URL}))

    async def running() -> object:
        return (await api.get(f"{API}/jobs")).json()["count"]

    await eventually(running, 1)
    job = (await api.get(f"{API}/jobs")).json()["jobs"][0]
    for _ in range(2):
        answer = await api.delete(f"{API}/jobs/{job['job_id']}")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert told(await waiting) == (409, "ingest_cancelled")
    assert (await api.get(f"{API}/libraries")).json()["total"] == 0


async def test_an_ingest_may_take_longer_than_other_requests(librarian):
    organism = FakeOrganism(api={"request_timeout_s": 0.2})
    librarian.gate.clear()
    async with client_of(organism, librarian=librarian) as api:
        asyncio.get_running_loop().call_later(0.5, librarian.gate.set)
        assert (await api.post(f"{API}/libraries", json={"git_url": URL})).status_code == 200


async def test_a_client_that_leaves_does_not_end_its_ingest(organism, librarian):
    librarian.gate.clear()
    async with served(organism, librarian=librarian) as address, Client(base_url=f"http://{address}") as api:
        with pytest.raises(httpx.ReadTimeout):
            await api.post(f"{API}/libraries", json={"git_url": URL}, timeout=0.3)
        librarian.gate.set()

        async def libraries() -> object:
            return (await api.get(f"{API}/libraries")).json()["total"]

        await eventually(libraries, 1)


async def test_libraries_are_listed_page_by_page_and_found_by_name(api, librarian):
    for name in ("beta", "alpha", "gamma"):
        librarian.repositories[f"https://example.org/{name}.git"] = REPOSITORY
        await api.post(f"{API}/libraries", json={"git_url": f"https://example.org/{name}.git"})
    page = (await api.get(f"{API}/libraries", params={"limit": 1, "offset": 1})).json()
    assert [each["name"] for each in page["libraries"]] == ["beta"]
    assert {key: page[key] for key in ("count", "total", "limit", "offset")} == {
        "count": 1, "total": 3, "limit": 1, "offset": 1
    }  # fmt: skip
    found = (await api.get(f"{API}/libraries", params={"q": "GAM"})).json()
    assert [each["name"] for each in found["libraries"]] == ["gamma"]


async def test_a_library_shows_its_files_and_names(api, library):
    view = (await api.get(library)).json()
    assert view["files"] == ["README.md", "src/greet.py", "src/odd: name.py"]
    assert view["functions"]["greet"] == "src/greet.py"
    assert view["stats"]["files"] == 3
    assert "chunks" not in view


async def test_a_deleted_library_is_gone(api, library):
    answer = await api.delete(library)
    assert answer.json() == {"library_id": library.rpartition("/")[2], "deleted": True}
    for again in (await api.delete(library), await api.get(library)):
        assert told(again) == (404, "library_not_found")


# Search and reading


async def test_a_search_passes_on_what_it_was_asked(api, library, librarian):
    body = {
        "query": "hello",
        "max_chunks": 1,
        "filters": {"paths": ["src/*.py"], "languages": ["python"], "chunk_types": ["module"]},
        "explain": True,
    }
    answer = (await api.post(f"{library}/search", json=body)).json()
    assert [each["file_path"] for each in answer["sources"]] == ["src/greet.py"]
    assert answer["sources"][0]["explain"] == {"words": ["hello"]}
    filters = Filters(("src/*.py",), ("python",), ("module",))
    assert librarian.searches == [((library.rpartition("/")[2],), "hello", 1, filters, True)]


async def test_a_search_across_names_libraries_or_takes_all(api, library, librarian):
    library_id = library.rpartition("/")[2]
    everywhere = await api.post(f"{API}/search", json={"query": "hello"})
    named = await api.post(f"{API}/search", json={"query": "hello", "libraries": [library_id, library_id]})
    assert everywhere.json()["sources"] == named.json()["sources"] != []
    assert [each[0] for each in librarian.searches] == [(), (library_id,)]
    unknown = await api.post(f"{API}/search", json={"query": "hello", "libraries": ["nowhere"]})
    assert told(unknown) == (404, "library_not_found")


async def test_a_question_is_answered_with_sources(api, library):
    answer = (await api.post(f"{library}/query", json={"question": "hello", "model": "small"})).json()
    assert answer["answer"].endswith("[1]")
    assert (answer["model"], answer["tokens_used"], answer["found"]) == ("small", 7, True)
    assert {"file_path", "name", "chunk_type", "start_line", "end_line", "relevance_score", "snippet"} <= set(
        answer["sources"][0]
    )


async def test_an_unknown_model_is_refused_with_those_there_are(api, library):
    answer = await api.post(f"{library}/query", json={"question": "hello", "model": "grok-4.1"})
    assert told(answer) == (422, "unknown_model")
    assert "there are small" in answer.json()["error"]["message"]
    assert answer.json()["error"]["details"][0]["path"] == "model"


@pytest.mark.parametrize("path", ["src/greet.py", "src/odd: name.py"])
async def test_chunks_and_files_are_found_by_paths_plain_and_encoded(organism, librarian, path):
    async with served(organism, librarian=librarian) as address, Client(base_url=f"http://{address}") as api:
        made = (await api.post(f"{API}/libraries", json={"git_url": URL})).json()
        library = f"{API}/libraries/{made['library_id']}"
        file = (await api.get(f"{library}/files/{quote(path)}")).json()
        assert file["content"] == REPOSITORY[path]
        chunk_id = file["chunks"][0]["chunk_id"]
        assert "/" in chunk_id
        assert ":" in chunk_id
        for spelt in (quote(chunk_id), quote(chunk_id, safe=""), quote(chunk_id, safe="/:")):
            chunk = (await api.get(f"{library}/chunks/{spelt}")).json()
            assert (chunk["chunk_id"], chunk["content"]) == (chunk_id, REPOSITORY[path])
        assert (await api.get(f"{library}/files/{quote(path, safe='')}")).json() == file


@pytest.mark.parametrize("path", ["chunks/a/b:c:0", "files/../../etc/passwd", "files/%2e%2e/%2e%2e/etc/passwd"])
async def test_what_is_no_chunk_and_no_file_is_not_found(api, library, path):
    assert (await api.get(f"{library}/{path}")).status_code == 404


async def test_symbols_are_found_by_a_part_of_their_name(api, library):
    answer = (await api.get(f"{library}/symbols", params={"q": "gre", "limit": 5})).json()
    assert [(each["name"], each["file_path"]) for each in answer["symbols"]] == [("greet", "src/greet.py")]
    assert answer["count"] == 1


# What is refused


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("libraries", {}, "git_url"),
        ("libraries", {"git_url": ""}, "git_url"),
        ("libraries", {"git_url": "https://example.org/a\nb"}, "git_url"),
        ("libraries", {"git_url": URL, "branch": ""}, "branch"),
        ("libraries", {"git_url": URL, "library_name": "  "}, "library_name"),
        ("libraries", {"git_url": URL, "name": "x"}, "name"),
        ("search", {"query": "  "}, "query"),
        ("search", {"query": "x", "max_chunks": 0}, "max_chunks"),
        ("search", {"query": "x", "max_chunks": "5"}, "max_chunks"),
        ("search", {"query": "x", "filters": {"languages": ["cobol"]}}, "filters.languages.0"),
        ("search", {"query": "x", "filters": {"path": []}}, "filters.path"),
        ("libraries/any/search", {"query": "x" * 10_001}, "query"),
        ("libraries/any/query", {"question": 5}, "question"),
        ("libraries/any/query/stream", {"question": "x", "max_chunks": 101}, "max_chunks"),
    ],
)
async def test_a_bad_field_is_named(api, path, body, field):
    answer = await api.post(f"{API}/{path}", json=body)
    assert told(answer) == (422, "invalid_request")
    assert [each["path"] for each in answer.json()["error"]["details"]] == [field]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "libraries?limit=0"),
        ("GET", "libraries?page=2"),
        ("POST", "libraries?wait=maybe"),
        ("GET", "jobs?limit=1001"),
        ("GET", "libraries/any/symbols"),
        ("GET", "libraries/any?x=1"),
    ],
)
async def test_a_bad_parameter_is_refused(api, method, path):
    assert told(await api.request(method, f"{API}/{path}")) == (422, "invalid_request")


async def test_bodies_that_are_no_json_object_are_refused(api):
    as_json = {"content-type": "application/json"}
    for content, headers, expected in [
        (b"[]", as_json, (400, "malformed")),
        (b"{", as_json, (400, "malformed")),
        (b"git_url=x", {"content-type": "text/plain"}, (415, "unsupported_media_type")),
        (b"x" * 3_000_000, as_json, (413, "too_large")),
    ]:
        assert told(await api.post(f"{API}/libraries", content=content, headers=headers)) == expected


async def test_an_app_without_a_librarian_says_so(client):
    for answer in (await client.get(f"{API}/libraries"), await client.post(f"{API}/search", json={"query": "x"})):
        assert told(answer) == (503, "librarian_not_served")
        assert "librarian" in answer.json()["error"]["message"]


# Errors

EXAMPLES: dict[type[LibrarianError], tuple[Any, ...]] = {
    errors.LibraryNotFound: ("lib",),
    errors.ChunkNotFound: ("lib", "a.py:a:0"),
    errors.FileNotInLibrary: ("lib", "a.py"),
    errors.JobNotFound: ("job",),
    errors.InvalidRequest: ("git_url", "is no URL"),
    errors.UnknownModel: ("m", ("n",)),
    errors.SourceRefused: (URL, "local paths are off"),
    errors.SourceUnavailable: (URL, "no such repository"),
    errors.LimitExceeded: ("max_files", 3, "it has 5 files"),
    errors.LibraryDamaged: ("lib", "chunks.parquet has another checksum"),
    errors.EmbedderMismatch: ("lib", "a", "b"),
    errors.EmbedderUnavailable: ("openai", "no answer"),
    errors.AnswerFailed: ("m", "no answer"),
    errors.LibraryStorageError: ("/libraries", "no space left on device"),
    errors.TooManyJobs: (20,),
    errors.IngestCancelled: ("job",),
    errors.IngestInterrupted: ("its process was killed",),
    errors.LibrarianUnreachable: ("its search is being started",),
}


def all_errors(kind: type[LibrarianError] = LibrarianError) -> list[type[LibrarianError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_librarian_has_a_status_and_survives_a_process_border(kind):
    assert librarian_status(kind.__new__(kind)) in {404, 409, 422, 429, 500, 502, 503}
    if kind in EXAMPLES:
        error = kind(*EXAMPLES[kind])
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    else:
        assert kind in (LibrarianError, errors.NotFound)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
async def test_an_error_is_answered_with_its_status_and_code(api, librarian, kind):
    librarian.trouble = kind(*EXAMPLES[kind])
    answer = await api.get(f"{API}/libraries")
    assert told(answer) == (librarian_status(librarian.trouble), kind.code)
    assert ("retry-after" in answer.headers) == (answer.status_code in (429, 503))


def test_statuses_are_those_of_the_contract():
    assert LIBRARIAN_STATUS[errors.LibraryDamaged] == 500
    assert errors.LibraryDamaged.code == "library_damaged"
    assert librarian_status(errors.UnknownModel("m", ())) == 422


async def test_the_error_of_a_job_is_masked(api, librarian):
    librarian.gate.clear()
    job_id = (await api.post(f"{API}/libraries?wait=false", json={"git_url": URL})).json()["job_id"]
    librarian._jobs[job_id] = replace(librarian._jobs[job_id], error={"code": "internal", "message": "token=abc"})
    masked = {"code": "internal", "message": "token=***"}
    assert (await api.get(f"{API}/jobs/{job_id}")).json()["error"] == masked
    assert (await api.get(f"{API}/jobs")).json()["jobs"][0]["error"] == masked
    librarian.gate.set()


def test_what_an_endpoint_said_is_masked():
    shown = describe_librarian(errors.AnswerFailed("m", "bad key sk-abcdefghijklmnop"))
    assert "sk-abc" not in shown["message"]


# Events


async def test_ingest_events_reach_clients_and_can_be_filtered(organism, librarian):
    async with served(organism, librarian=librarian) as address, socket_to(address) as socket:
        await socket.hear("connected")
        assert (await socket.ask(cmd="subscribe", events=["ingest"]))["event"] == "ack"
        organism.send()
        await organism.announce_ingest({"job_id": "j", "status": "running"})
        assert await socket.hear() == {"event": "ingest", "job": {"job_id": "j", "status": "running"}}
