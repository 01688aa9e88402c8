"""Threads and their messages, read from the storage: what was accepted a moment ago is there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from organism.access.principal import Principal, Role
from organism.errors import ThreadNotFound
from organism.ref import OrganismRef
from organism.storage.base import MessageFilter
from organism.threads import Thread
from serve_app.api_models import MessagePage, ThreadPage, ThreadWithMessages, failures
from serve_app.auth import GuardedRoute, needs, principal_of
from serve_app.bounded_lists import reachable
from serve_app.dependencies import OrganismDep
from serve_app.queries import MessageQuery, Page, ThreadQuery
from serve_app.responses import page_of

router = APIRouter(route_class=GuardedRoute, prefix="/threads", tags=["threads"])


@router.get("", summary="Threads, newest first", response_model=ThreadPage, responses=failures())
@needs(Role.VIEWER, bound="handled")
async def list_threads(request: Request, query: Annotated[ThreadQuery, Query()], organism: OrganismDep) -> Response:
    where = query.filter()
    agents = reachable((), principal_of(request.scope))
    threads, total = await organism.threads(where._replace(agents=agents), query.limit, query.offset)
    return page_of("threads", (thread.to_api() for thread in threads), total, query.limit, query.offset)


@router.get(
    "/{thread_id}",
    summary="A thread with a page of its messages",
    response_model=ThreadWithMessages,
    response_model_exclude_unset=True,
    responses=failures(404),
)
@needs(Role.VIEWER, bound="handled")
async def get_thread(
    thread_id: str, request: Request, page: Annotated[Page, Query()], organism: OrganismDep
) -> Response:
    principal = principal_of(request.scope)
    thread = await thread_for(principal, thread_id, organism)
    where = MessageFilter(agents=reachable((), principal), threads=(thread_id,))
    messages, total = await organism.messages(where, page.limit, page.offset)
    shown = (message.to_api() for message in messages)
    return page_of("messages", shown, total, page.limit, page.offset, **thread.to_api())


@router.get(
    "/{thread_id}/messages",
    summary="The messages of a thread",
    response_model=MessagePage,
    responses=failures(404),
)
@needs(Role.VIEWER, bound="handled")
async def list_thread_messages(
    thread_id: str, request: Request, query: Annotated[MessageQuery, Query()], organism: OrganismDep
) -> Response:
    principal = principal_of(request.scope)
    await thread_for(principal, thread_id, organism)  # an unknown id is no empty list
    where = query.filter(thread_id)
    where = where._replace(agents=reachable(where.agents, principal))
    messages, total = await organism.messages(where, query.limit, query.offset, query.order == "desc")
    return page_of("messages", (message.to_api() for message in messages), total, query.limit, query.offset)


async def thread_for(principal: Principal, thread_id: str, organism: OrganismRef) -> Thread:
    """Raises: ThreadNotFound, also where none of the thread's participants is the principal's to see."""
    thread = await organism.thread(thread_id)
    if principal.bounds is not None and not any(map(principal.may_reach_agent, thread.participants)):
        raise ThreadNotFound(thread_id)
    return thread
