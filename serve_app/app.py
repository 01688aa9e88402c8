"""The HTTP and WebSocket application of one API replica; it knows the organism only through an OrganismRef."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from librarian.ref import LibrarianRef
from organism.access.ref import AccessRef
from organism.ref import OrganismRef
from organism.sessions.ref import SessionsRef
from serve_app import documentation, error_handlers, websocket
from serve_app.access import Access
from serve_app.access_models import SCHEMAS as ACCESS_SCHEMAS
from serve_app.dependencies import OpenStreams, Replica
from serve_app.feed import Feed
from serve_app.gate import Gate, Place
from serve_app.hub import Hub
from serve_app.inlet import Inlet
from serve_app.jwt_tokens import TokenVerifier
from serve_app.librarian_models import SCHEMAS as LIBRARIAN_SCHEMAS
from serve_app.live import Live
from serve_app.payload_classes import PayloadClasses
from serve_app.request_timeout import RequestTimeout
from serve_app.routes import (
    agents,
    audit,
    control,
    health,
    identity,
    keys,
    librarian,
    librarian_search,
    messages,
    models,
    oneshot,
    organism,
    session_queries,
    session_streams,
    session_workspace,
    sessions,
    threads,
)
from serve_app.session_models import SCHEMAS as SESSION_SCHEMAS
from serve_app.socketio.server import SocketIO, socketio_of_app

BASE_PATH = "/api/v1"
SESSION_PATHS = ("/api", BASE_PATH)

SECURITY_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`organism keys add` makes one"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key, or a JWT where auth.jwt says how to tell"},
}
"""One of them, where there is authentication at all."""

CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": ["authorization", "content-type", "last-event-id", "prefer", "x-api-key"],
    "expose_headers": ["location", "retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
}
"""What pages of api.cors_origins may do. No cookies: there are none."""

FIRST_SNAPSHOT_S = 10.0
"""How long a starting replica waits for the organism before it answers requests with 503 meanwhile."""

DESCRIPTION = """
Watch and steer a running organism. Lists answer `{"<plural>": [...], "count", "total", "limit", "offset"}`, errors
`{"error": {"code", "message", "details"?}}`. `seq`, the position in the global message log, is the one cursor of REST
and WebSockets.

**`/ws`** sends `connected` (the whole picture, and its `seq`), then `message`, `thread_created`, `thread_updated`,
`agent_state`, `session_state`, `ingest`, `error` and `reloaded` events; `/ws?since=<seq>` replays the messages behind
that position first.
Commands: `subscribe` {threads, agents, events}, `unsubscribe`, `inject` {to, payload, thread_id}, `pause` {agent},
`resume` {agent}, `kill` {thread_id}, `requeue` {message_id}, `ping`. Each is answered by an `ack` event, or an `error`
event, with its `cmd` and the `id` that the client gave it; the connection stays. Commands of one connection take
effect in order.

**`/ws/messages`** sends nothing until `subscribe` {filter: {agents, threads, payload_types, since}}, then messages,
bare. `since` replays, from a seq or a time.

On both: `heartbeat` when nothing else was sent for `api.heartbeat_s`; `lagged` {from_seq, to_seq} when a slow client
missed events that belong to these positions, which `GET /messages?after=<from_seq - 1>` still has.

Where there is authentication, each request carries a key (`X-API-Key`) or a token (`Authorization: Bearer`), and
a WebSocket may send `{"cmd": "auth", "token"}` as its first message instead, within five seconds. `GET /me` tells who
you are. Of what you may not see there is no trace: sessions of others are 404.

**Agent sessions** are below `/api/sessions` and, the same, `/api/v1/sessions`; what happens in one is followed over
server-sent events, or Socket.IO at `/socket.io`. Their errors are `{"error": "<text>", "code", "details"?}`, and their
`seq` counts the stored events of one session. `session_state` on `/ws` tells of each session that changes.

**The librarian** is below `/librarian`: git repositories become libraries, which are searched, asked and read. `ingest`
events on `/ws` tell how each ingest gets on.
"""

Connect = Callable[[], Awaitable[OrganismRef]]


OpenSessions = Callable[[], AbstractAsyncContextManager[SessionsRef]]


def build_app(
    connect: OrganismRef | Connect,
    open_sessions: OpenSessions | None = None,
    library_service: LibrarianRef | None = None,
    *,
    access_service: AccessRef | None = None,
    verifier: TokenVerifier | None = None,
    place: Place | None = None,
) -> FastAPI:
    """The application; limits and intervals come from the organism's own configuration, also after a reload.

    Args:
        connect: the organism, or an async function that finds it, called when the application starts.
        open_sessions: opens the agent sessions, after `connect`; without it their routes answer 503.
        library_service: the librarian; without it its routes answer 503.
        access_service: keys and the audit log; without it everybody of this machine may do everything.
        verifier: of bearer tokens, where they are taken (auth.jwt).
        place: where the API is served; without it any Host header will do.
    """
    app = FastAPI(
        title="Organism",
        description=DESCRIPTION,
        version="1",
        lifespan=_lifespan(connect, open_sessions, library_service, access_service, verifier, place),
        middleware=_middleware(place),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    error_handlers.install(app)
    # They are tried in this order, by Serve as well: the busiest come first.
    for module in (agents, control, messages, threads, organism, health, identity, keys, audit):
        app.include_router(module.router, prefix=BASE_PATH)
    for module in (session_queries, sessions, session_streams, session_workspace):
        for prefix in SESSION_PATHS:
            app.include_router(module.router, prefix=prefix)
    for module in (oneshot, models, librarian_search, librarian):
        app.include_router(module.router, prefix=BASE_PATH)
    app.include_router(health.router)
    app.include_router(websocket.router)
    app.mount("/socket.io", socketio_of_app)
    documentation.install(app)
    app.openapi = _openapi(app)  # FastAPI's documented way to extend the document
    return app


def _middleware(place: Place | None) -> list[Middleware]:
    """Outermost first: what pages of other origins may do, then who asks, before anything else is looked at."""
    gate = [Middleware(Gate, place=place), Middleware(RequestTimeout)]
    if place is None or not place.cors_origins:
        return gate
    return [Middleware(CORSMiddleware, allow_origins=place.cors_origins, **CORS), *gate]


def _lifespan(
    connect: OrganismRef | Connect,
    open_sessions: OpenSessions | None,
    library_service: LibrarianRef | None,
    access_service: AccessRef | None,
    verifier: TokenVerifier | None,
    place: Place | None,
) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        ref = await connect() if callable(connect) else connect
        live, classes = Live(), PayloadClasses(ref)
        async with AsyncExitStack() as stack:
            hub = await stack.enter_async_context(Hub())
            feed = await stack.enter_async_context(Feed(ref, live, hub, classes))
            inlet = await stack.enter_async_context(Inlet(ref))
            service = await stack.enter_async_context(open_sessions()) if open_sessions else None
            bind_host = place.bind_host if place else None
            access = await stack.enter_async_context(Access(access_service, live, verifier, bind_host))
            app.state.replica = Replica(
                ref, live, hub, classes, feed, inlet, OpenStreams(), access, service, library_service
            )
            app.state.socket_io = await stack.enter_async_context(SocketIO(app.state.replica))
            await feed.wait_synced(FIRST_SNAPSHOT_S)
            await access.wait_informed(FIRST_SNAPSHOT_S)
            yield

    return lifespan


def _openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schemas: dict[str, Any] = app.openapi_schema["components"]["schemas"]
            app.openapi_schema["components"]["schemas"] = {
                **control.SCHEMAS,
                **SESSION_SCHEMAS,
                **LIBRARIAN_SCHEMAS,
                **ACCESS_SCHEMAS,
                **schemas,
            }
            app.openapi_schema["components"]["securitySchemes"] = SECURITY_SCHEMES
            app.openapi_schema["security"] = [{}, *({name: []} for name in SECURITY_SCHEMES)]
        return app.openapi_schema

    return document
