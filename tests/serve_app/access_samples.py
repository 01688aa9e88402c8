"""One of everything that the API can be asked about, and a request that succeeds for each of its routes."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import httpx
from access_control import Guarded
from conftest import until
from fake_librarian import chunk_id_of

from organism.access.principal import Role
from organism.messages import DeadLetter, new_id, now_ms
from organism.sessions.records import NewSession

MARK = "MARKED"
"""Stands in everything that a sample holds."""

REPOSITORY = "https://example.org/marked.git"
FILES = {"marked.py": f"# says hello to {MARK}\ndef greet():\n    pass\n"}

Row = tuple[str, str]
"""Method and path of a route, as the application has it."""


class Samples(NamedTuple):
    """Names and ids; those of a library's insides are the same in each."""

    agent: str = "greeter"
    thread_id: str = "0199aaaa-bbbb-7ccc-8ddd-111111111111"
    message_id: str = "0199aaaa-bbbb-7ccc-8ddd-222222222222"
    session_id: str = "0199aaaa-bbbb-7ccc-8ddd-333333333333"
    library_id: str = "unknown-library"
    job_id: str = "0199aaaabbbb7ccc8ddd444444444444"
    key: str = "unknown-key"
    chunk_id: str = chunk_id_of("marked.py", FILES["marked.py"])
    path: str = "marked.py"


UNKNOWN = Samples(agent="unknown-agent")
"""Well-formed, and there are none of these."""


async def add_samples(it: Guarded, owner: str = "key:operator") -> Samples:
    """New ones, all of the greeter; the session belongs to `owner`."""
    key = f"spare-{len(it.keys)}"
    await it.add(key, Role.VIEWER)
    message = it.organism.append(new_id(), "console", "greeter", b'{"name":"%s"}' % MARK.encode())
    it.organism.letters.append(DeadLetter(message, MARK, 1, now_ms()))
    session = await it.sessions.create(NewSession(name=MARK), owner)
    it.librarian.repositories[REPOSITORY] = FILES
    library = await it.librarian.ingest(REPOSITORY, None, key)
    job = (await it.librarian.jobs())[0]
    return Samples("greeter", message.thread_id, message.id, session.id, library.library_id, job.job_id, key)


async def state_of(it: Guarded, samples: Samples) -> tuple[object, ...]:
    """All that a route could change."""
    session, organism = it.sessions.sessions_by_id[samples.session_id], it.organism
    return (
        organism.agents["greeter"], organism.all_threads[samples.thread_id].status, len(organism.log),
        list(organism.letters), list(organism.submitted), organism.stopping,
        session.record, list(session.log), len(it.sessions.sessions_by_id),
        list(it.librarian.libraries_by_id), await it.librarian.jobs(),
        {each.name: each.revoked_at for each in await it.storage.keys()},
    )  # fmt: skip


SESSIONS = ("/api/sessions", "/api/v1/sessions")

OF_SESSION: dict[Row, dict[str, Any]] = {
    ("GET", "/details"): {}, ("POST", "/details"): {}, ("GET", "/status"): {}, ("POST", "/update"): {"name": "x"},
    ("POST", "/model"): {"model": {"id": "small"}}, ("POST", "/restore"): {}, ("POST", "/query"): {"query": "hi"},
    ("POST", "/query/stream"): {"query": "hi"}, ("POST", "/abort"): {}, ("POST", "/{session_id}/abort"): {},
    ("POST", "/generate-summary"): {"messages": [{"role": "user", "content": "x"}]},
    ("GET", "/events"): {}, ("POST", "/events"): {}, ("GET", "/events/stream"): {"after": 0},
    ("GET", "/workspace/files"): {}, ("GET", "/workspace/search"): {"q": "a"},
    ("POST", "/workspace/validate"): {"paths": ["a"]}, ("POST", "/delete"): {},
}  # fmt: skip
"""What the routes about one session are sent besides its id."""

OF_NO_SESSION = {("GET", ""), ("GET", "/"), ("POST", "/create")}

FIELDS: dict[Row, dict[str, Any]] = {
    ("POST", "oneshot/query"): {"query": "hi"},
    ("POST", "oneshot/query/stream"): {"query": "hi"},
    ("POST", "librarian/search"): {"query": "hello"},
    ("POST", "librarian/libraries"): {"git_url": REPOSITORY},
    ("POST", "librarian/libraries/{library_id}/search"): {"query": "hello"},
    ("GET", "librarian/libraries/{library_id}/symbols"): {"q": "greet"},
    ("POST", "librarian/libraries/{library_id}/query"): {"question": "hello"},
    ("POST", "librarian/libraries/{library_id}/query/stream"): {"question": "hello"},
}
"""What the other routes are sent."""


def request_of(row: Row, samples: Samples) -> dict[str, Any]:
    """Arguments of a client's `request`."""
    method, template = row
    path = template.replace(":path}", "}").replace("{name}", "{key}" if "/keys/" in template else "{agent}")
    fields = _fields_of(row, samples)
    return {"method": method, "url": path.format(**samples._asdict()), "params" if method == "GET" else "json": fields}


def _fields_of(row: Row, samples: Samples) -> dict[str, Any] | None:
    method, template = row
    for base in SESSIONS:
        of_session = OF_SESSION.get((method, template.removeprefix(base)))
        if template.startswith(base) and of_session is not None:
            return {"sessionId": samples.session_id, **of_session}
    if row == ("POST", "/api/v1/inject"):
        return {"to": samples.agent, "payload": {"name": "Dan"}}
    if row == ("POST", "/api/v1/keys"):
        return {"name": f"made-{samples.key}", "role": "viewer"}
    return FIELDS.get((method, template.removeprefix("/api/v1/")))


async def answer(it: Guarded, caller: str, row: Row, samples: Samples) -> httpx.Response:
    """What the caller is answered; a stream of events that would go on for ever is ended with its session."""
    async with it.client(caller) as client, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(client.request(**request_of(row, samples)))
        if row[1].endswith("/events/stream"):
            await until(lambda: asking.done() or it.sessions.followers())
            if not asking.done():
                await it.sessions.delete(samples.session_id)
        return await asking
