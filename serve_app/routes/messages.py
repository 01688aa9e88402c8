"""The global log of messages, and the dead letters in it."""

from __future__ import annotations

from itertools import count
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from organism.messages import DeadLetter, Message
from organism.ref import OrganismRef
from serve_app.api_models import DeadLetterPage, MessagePage, failures
from serve_app.dependencies import LiveDep, OrganismDep
from serve_app.live import Live
from serve_app.queries import DeadLetterQuery, MessageQuery
from serve_app.responses import page_of

router = APIRouter(tags=["messages"])

SCAN = 1000
"""Dead letters read at once where a time bounds them."""


@router.get("/messages", summary="The log of all messages", response_model=MessagePage, responses=failures())
async def list_messages(query: Annotated[MessageQuery, Query()], organism: OrganismDep, live: LiveDep) -> Response:
    messages, total = await _read(query, organism, live)
    return page_of("messages", (message.to_api() for message in messages), total, query.limit, query.offset)


async def _read(query: MessageQuery, organism: OrganismRef, live: Live) -> tuple[list[Message], int]:
    where = query.filter()
    follows_the_log = where == where._replace(agents=(), since_ms=None, fate=None)
    if follows_the_log and query.order == "asc" and query.offset == 0:
        # seq counts without gaps, so how many there are is known without counting them in the storage.
        messages = await organism.message_page(where, query.limit)
        last_seq = max(live.total_messages(), messages[-1].seq if messages else 0)
        return messages, max(0, last_seq - query.after)
    return await organism.messages(where, query.limit, query.offset, query.order == "desc")


@router.get(
    "/dead-letters",
    summary="Messages that nobody could handle, newest first",
    response_model=DeadLetterPage,
    responses=failures(),
)
async def list_dead_letters(query: Annotated[DeadLetterQuery, Query()], organism: OrganismDep) -> Response:
    if query.since_ms is None:
        letters, total = await organism.dead_letters(query.agent, query.limit, query.offset)
    else:
        recent = await _dead_letters_since(organism, query.agent, query.since_ms)
        letters, total = recent[query.offset : query.offset + query.limit], len(recent)
    return page_of("dead_letters", (letter.to_api() for letter in letters), total, query.limit, query.offset)


async def _dead_letters_since(organism: OrganismRef, agent: str | None, since_ms: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    for offset in count(0, SCAN):
        letters, _ = await organism.dead_letters(agent, SCAN, offset)
        recent = [letter for letter in letters if letter.died_ms >= since_ms]
        found += recent
        if len(recent) < SCAN:  # newest first: all that follow are older
            break
    return found
