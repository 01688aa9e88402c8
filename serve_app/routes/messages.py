"""The global log of messages, and the dead letters in it."""

from __future__ import annotations

from itertools import count
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from organism.access.principal import Principal, Role
from organism.messages import DeadLetter, Message
from organism.ref import OrganismRef
from serve_app.api_models import DeadLetterPage, MessagePage, failures
from serve_app.auth import GuardedRoute, needs, principal_of
from serve_app.bounded_lists import reachable
from serve_app.dependencies import LiveDep, OrganismDep
from serve_app.live import Live
from serve_app.queries import DeadLetterQuery, MessageQuery
from serve_app.responses import page_of

router = APIRouter(route_class=GuardedRoute, tags=["messages"])

SCAN = 1000
"""Dead letters read at once where a time bounds them."""


@router.get("/messages", summary="The log of all messages", response_model=MessagePage, responses=failures())
@needs(Role.VIEWER, bound="handled")
async def list_messages(
    request: Request, query: Annotated[MessageQuery, Query()], organism: OrganismDep, live: LiveDep
) -> Response:
    messages, total = await _read(query, principal_of(request.scope), organism, live)
    return page_of("messages", (message.to_api() for message in messages), total, query.limit, query.offset)


async def _read(
    query: MessageQuery, principal: Principal, organism: OrganismRef, live: Live
) -> tuple[list[Message], int]:
    where = query.filter()
    where = where._replace(agents=reachable(where.agents, principal))
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
@needs(Role.VIEWER, bound="handled")
async def list_dead_letters(
    request: Request, query: Annotated[DeadLetterQuery, Query()], organism: OrganismDep
) -> Response:
    principal = principal_of(request.scope)
    if query.since_ms is None and principal.bounds is None:
        letters, total = await organism.dead_letters(query.agent, query.limit, query.offset)
    else:
        recent = await _dead_letters_since(organism, query.agent, query.since_ms or 0)
        seen = [letter for letter in recent if principal.may_reach_agent(letter.message.recipient)]
        letters, total = seen[query.offset : query.offset + query.limit], len(seen)
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
