"""The client's librarian against the application, over real HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "client"))

from librarian_server import GIT_URL, LibrarianServer, serving_librarian

from librarian.errors import AnswerFailed, EmbedderMismatch, LibraryDamaged, TooManyJobs
from organism.client import (
    AnswerDelta,
    AnswerSources,
    AsyncClient,
    AsyncLibrarian,
    BadRequest,
    Client,
    CodeAnswer,
    ConnectionLost,
    IngestFailed,
    LibrarySummary,
    LibraryUnusable,
    LimitReached,
    ModelFailed,
    NotFound,
    Unreachable,
)


@pytest.fixture
def server() -> Iterator[LibrarianServer]:
    with serving_librarian() as server:
        yield server


@pytest.fixture
async def librarian(server: LibrarianServer) -> AsyncIterator[AsyncLibrarian]:
    async with AsyncClient(server.url) as client:
        yield client.librarian


@pytest.fixture
async def library_id(librarian: AsyncLibrarian) -> str:
    return (await librarian.ingest(GIT_URL)).library_id


async def test_a_repository_is_ingested_listed_shown_and_deleted(librarian):
    result = await librarian.ingest(GIT_URL, branch="next", name="hello")
    assert (result.library_name, result.branch, result.updated) == ("hello", "next", True)
    assert [each.library_id for each in await librarian.libraries()] == [result.library_id]
    details = await librarian.library(result.library_id)
    assert "src/greet.py" in details.files
    assert details.report.skipped_count == 0
    await librarian.delete(result.library_id)
    assert await librarian.libraries() == []
    with pytest.raises(NotFound, match="no library"):
        await librarian.library(result.library_id)


async def test_an_ingest_can_be_followed_and_cancelled(librarian, server):
    server.on_loop(server.librarian.gate.clear)
    job = await librarian.start_ingest(GIT_URL)
    states = []
    async with aclosing(librarian.follow(job.job_id)) as steps:
        async for step in steps:
            states.append(step.status)
            if not step.has_ended:
                await librarian.cancel(job.job_id)
    assert states == ["running", "cancelled"]
    with pytest.raises(IngestFailed, match="was cancelled"):
        await librarian.finish(job)
    assert [each.job_id for each in await librarian.jobs()] == [job.job_id]


async def test_an_ingest_that_fails_says_why(librarian):
    with pytest.raises(IngestFailed, match="no such repository") as raised:
        await librarian.ingest("https://example.org/nothing.git")
    assert raised.value.code == "source_unavailable"


async def test_an_ingest_is_followed_through_a_lost_connection(librarian, server):
    server.on_loop(server.librarian.gate.clear)
    job = await librarian.start_ingest(GIT_URL)
    server.cuts += [job.job_id] * 4
    async with aclosing(librarian.follow(job.job_id)) as steps:
        assert (await anext(steps)).status == "running"
        server.on_loop(server.librarian.gate.set)
        assert [each.status async for each in steps] == ["succeeded"]
    assert server.cuts == []


async def test_a_search_is_sent_again_where_the_connection_broke(librarian, server, library_id):
    server.cuts.append("/search")
    found = await librarian.search(library_id, "hello", paths=["src/*.py"], explain=True)
    assert [each.file_path for each in found.sources] == ["src/greet.py"]
    assert found.sources[0].explain == {"words": ["hello"]}
    (library_ids, query, max_chunks, filters, explain) = server.librarian.searches[-1]
    assert (library_ids, query, max_chunks, filters.paths, explain) == ((library_id,), "hello", 10, ("src/*.py",), True)


async def test_all_libraries_are_searched_where_none_is_named(librarian, library_id):
    assert {each.library_id for each in (await librarian.search(None, "hello")).sources} == {library_id}


async def test_a_question_is_answered_whole_and_in_pieces(librarian, library_id):
    whole = await librarian.query(library_id, "hello")
    async with aclosing(librarian.stream(library_id, "hello", model="small")) as events:
        first, *pieces, last = [each async for each in events]
    assert isinstance(first, AnswerSources)
    assert all(isinstance(each, AnswerDelta) for each in pieces)
    assert isinstance(last, CodeAnswer)
    assert (last.answer, last.sources) == (whole.answer, first.sources)


async def test_an_answer_that_breaks_off_says_why(librarian, server, library_id):
    server.librarian.breaks_off = AnswerFailed("small", "it is asleep")
    with pytest.raises(ModelFailed, match="it is asleep"):
        [each async for each in librarian.stream(library_id, "hello")]


async def test_a_question_whose_answer_is_cut_is_a_lost_connection(librarian, server, library_id):
    server.cuts.append("/query")
    with pytest.raises(ConnectionLost):
        await librarian.query(library_id, "hello")


async def test_an_unknown_model_is_a_bad_request_that_names_the_known_ones(librarian, library_id):
    with pytest.raises(BadRequest, match="small"):
        await librarian.query(library_id, "hello", model="large")


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (LibraryDamaged("x", "a checksum"), LibraryUnusable),
        (EmbedderMismatch("x", "a", "b"), LibraryUnusable),
        (TooManyJobs(3), LimitReached),
    ],
    ids=repr,
)
async def test_every_failure_has_its_class(librarian, server, trouble, kind):
    server.librarian.trouble = trouble
    with pytest.raises(kind) as raised:
        await librarian.search(None, "hello")
    assert str(raised.value) == str(trouble)


async def test_chunks_and_files_have_slashes_and_colons_in_their_names(librarian, library_id):
    file = await librarian.file(library_id, "src/odd: name.py")
    chunk = await librarian.chunk(library_id, file.chunks[0].chunk_id)
    assert chunk.content == file.content
    with pytest.raises(NotFound):
        await librarian.chunk(library_id, "src/no.py:no:00000000")


@pytest.mark.parametrize("path", ["../../../organism", "..", "."])
async def test_what_is_named_does_not_lead_out_of_the_library(librarian, library_id, path):
    with pytest.raises(NotFound, match="no file"):
        await librarian.file(library_id, path)


async def test_a_library_named_by_dots_is_not_a_step_up(librarian, library_id):
    with pytest.raises(NotFound, match="no library"):
        await librarian.delete("..")


async def test_symbols_are_found_by_a_part_of_their_name(librarian, library_id):
    assert [each.file_path for each in await librarian.symbols(library_id, "gre")] == ["src/greet.py"]


def test_a_field_that_is_not_known_is_kept():
    fields = dict.fromkeys(LibrarySummary.model_fields, "x") | {"total_files": 1, "total_chunks": 2, "colour": "red"}
    assert LibrarySummary.model_validate(fields).model_dump()["colour"] == "red"


def test_it_can_be_used_without_an_event_loop(server):
    with Client(server.url) as client:
        library_id = client.librarian.ingest(GIT_URL).library_id
        assert client.librarian.search(library_id, "hello").sources
        assert isinstance(list(client.librarian.stream(library_id, "hello"))[-1], CodeAnswer)


async def test_where_nothing_answers_it_says_so():
    async with AsyncClient("http://127.0.0.1:9", reconnect_timeout_s=0) as client:
        with pytest.raises(Unreachable):
            await client.librarian.libraries()
