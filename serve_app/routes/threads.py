"""Threads and their messages, read from the storage: what was accepted a moment ago is there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from organism.storage.base import MessageFilter
from serve_app.api_models import MessagePage, ThreadPage, ThreadWithMessages, failures
from serve_app.dependencies import OrganismDep
from serve_app.queries import MessageQuery, Page, ThreadQuery
from serve_app.responses import page_of

router = APIRouter(prefix="/threads", tags=["threads"])


@router.get("", summary="Threads, newest first", response_model=ThreadPage, responses=failures())
async def list_threads(query: Annotated[ThreadQuery, Query()], organism: OrganismDep) -> Response:
    threads, total = await organism.threads(query.filter(), query.limit, query.offset)
    return page_of("threads", (thread.to_api() for thread in threads), total, query.limit, query.offset)


@router.get(
    "/{thread_id}",
    summary="A thread with a page of its messages",
    response_model=ThreadWithMessages,
    response_model_exclude_unset=True,
    responses=failures(404),
)
async def get_thread(thread_id: str, page: Annotated[Page, Query()], organism: OrganismDep) -> Response:
    thread = await organism.thread(thread_id)
    messages, total = await organism.messages(MessageFilter(threads=(thread_id,)), page.limit, page.offset)
    shown = (message.to_api() for message in messages)
    return page_of("messages", shown, total, page.limit, page.offset, **thread.to_api())


@router.get(
    "/{thread_id}/messages",
    summary="The messages of a thread",
    response_model=MessagePage,
    responses=failures(404),
)
async def list_thread_messages(
    thread_id: str, query: Annotated[MessageQuery, Query()], organism: OrganismDep
) -> Response:
    await organism.thread(thread_id)  # an unknown id is no empty list
    where = query.filter(thread_id)
    messages, total = await organism.messages(where, query.limit, query.offset, query.order == "desc")
    return page_of("messages", (message.to_api() for message in messages), total, query.limit, query.offset)
