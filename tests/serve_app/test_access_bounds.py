"""Every route against keys that are bound to other things, or to nothing: what they are not bound to is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from access_control import Guarded, guarded
from access_samples import MARK, SESSIONS, UNKNOWN, Samples, add_samples, answer, state_of
from test_access_matrix import OPEN, ROWS, V1

from organism.access.principal import Bounds, Role
from organism.messages import DeadLetter, now_ms

BOUNDS = {
    "nothing": Bounds(),
    "other things": Bounds(frozenset({"shouter"}), frozenset({"elsewhere"}), frozenset({UNKNOWN.session_id})),
}

FOR_ALL = OPEN | {("GET", f"{V1}/{path}") for path in ("me", "models", "version", "organism")}
"""Names nobody; of the organism there are figures."""

LISTS = {
    **{
        ("GET", f"{V1}/{path}"): path.replace("-", "_").rpartition("/")[2]
        for path in ("agents", "dead-letters", "messages", "threads", "librarian/libraries")
    },
    **{("GET", f"{base}{end}"): "sessions" for base in SESSIONS for end in ("", "/")},
    ("POST", f"{V1}/librarian/search"): "sources",
}
"""What a bound key may ask for, and where the answer has what it found."""


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path) as it:
        yield it


async def add_bound(it: Guarded, bounds: Bounds) -> Samples:
    """The key `bound`, and samples that it is not bound to, though it has made the session itself."""
    await it.add("bound", Role.ADMIN, bounds)
    samples = await add_samples(it, "key:bound")
    await it.refresh()
    return samples


@pytest.mark.parametrize("bound_to", BOUNDS)
async def test_a_bound_key_finds_and_changes_nothing_else(it, bound_to):
    samples = await add_bound(it, BOUNDS[bound_to])
    before = await state_of(it, samples)
    for row in ROWS:
        got = await answer(it, "bound", row, samples)
        assert MARK not in got.text, (row, got.text)
        if row in FOR_ALL:
            assert got.status_code == 200, row
        elif row in LISTS:
            assert got.status_code == 200, row
            assert not [each for each in samples if each in got.text], (row, got.text)
            own = ["shouter"] if row[1].endswith("/agents") and bound_to == "other things" else []
            assert [each["name"] for each in got.json()[LISTS[row]]] == own, row
            assert got.json().get("total", 0) == len(own), row
        else:
            assert got.status_code in (403, 404), (row, got.status_code, got.text)
    assert await state_of(it, samples) == before


@pytest.mark.parametrize("bound_to", BOUNDS)
async def test_what_a_key_is_not_bound_to_is_answered_as_what_does_not_exist(it, bound_to):
    samples = await add_bound(it, BOUNDS[bound_to])
    for row in ROWS:
        got = [await answer(it, "bound", row, each) for each in (samples, UNKNOWN)]
        assert got[0].status_code == got[1].status_code, row
        if got[0].status_code == 404:
            assert without_ids(got[0].text, samples) == without_ids(got[1].text, UNKNOWN), row


def without_ids(text: str, samples: Samples) -> str:
    for each in samples:
        text = text.replace(each, "")
    return text


@pytest.fixture
async def bound(it: Guarded) -> AsyncIterator[httpx.AsyncClient]:
    """Its key is bound to the shouter and to the library `mine`."""
    it.librarian.repositories["https://example.org/mine.git"] = {"mine.py": "# says hello, too\n"}
    mine = await it.librarian.ingest("https://example.org/mine.git", None, "mine")
    await it.add("bound", Role.ADMIN, Bounds(frozenset({"shouter"}), frozenset({mine.library_id})))
    await it.refresh()
    async with it.client("bound") as bound:
        yield bound


async def test_a_bound_key_finds_what_its_agents_take_part_in(it, bound):
    await add_samples(it)
    mine = it.organism.append("mine", "greeter", "shouter", b'{"text":"x"}')
    it.organism.append("mine", "console", "greeter", b'{"name":"%s"}' % MARK.encode())
    it.organism.letters.append(DeadLetter(mine, "broken", 1, now_ms()))
    for path, kind in (
        ("messages", "messages"), ("messages?order=desc", "messages"), ("messages?after=1", "messages"),
        ("threads", "threads"), ("threads/mine", "messages"), ("threads/mine/messages", "messages"),
        ("dead-letters", "dead_letters"), ("dead-letters?since=2000-01-01T00:00:00Z", "dead_letters"),
    ):  # fmt: skip
        got = await bound.get(f"/api/v1/{path}")
        assert (got.status_code, got.json()["total"], len(got.json()[kind])) == (200, 1, 1), (path, got.text)
        assert MARK not in got.text, path
    for path in ("messages?agent=greeter", "threads?agent=greeter", "dead-letters?agent=greeter"):
        got = await bound.get(f"/api/v1/{path}")
        assert MARK not in got.text, path
    assert (await bound.post(f"/api/v1/dead-letters/{mine.id}/requeue")).status_code == 200


async def test_a_bound_key_searches_its_libraries_only(it, bound):
    samples = await add_samples(it)
    (own,) = (await bound.get("/api/v1/librarian/libraries")).json()["libraries"]
    assert own["name"] == "mine"
    for libraries in ([], [own["library_id"]]):
        found = await bound.post("/api/v1/librarian/search", json={"query": "hello", "libraries": libraries})
        assert {each["library_id"] for each in found.json()["sources"]} == {own["library_id"]}
    for libraries in ([samples.library_id], [own["library_id"], samples.library_id]):
        refused = await bound.post("/api/v1/librarian/search", json={"query": "hello", "libraries": libraries})
        assert refused.status_code == 404


async def test_a_bound_key_sends_into_no_thread_of_others(it, bound):
    samples = await add_samples(it)
    inject = {"to": "shouter", "payload": {"message": "x", "original_sender": "y"}}
    for thread_id in (samples.thread_id, UNKNOWN.thread_id):
        refused = await bound.post("/api/v1/inject", json={**inject, "thread_id": thread_id})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
    assert it.organism.submitted == []
    assert (await bound.post("/api/v1/inject", json=inject)).status_code == 200
