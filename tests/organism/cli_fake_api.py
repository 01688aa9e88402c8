"""A small organism API over real HTTP, for the tests of the command line: spoken shapes, no organism behind them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

STAMP = "2026-01-15T10:30:00.000Z"


def make_agent(name: str, **changes: Any) -> dict[str, Any]:
    agent = {
        "name": name,
        "description": f"The {name}",
        "is_agent": False,
        "peers": [],
        "payload_class": "handlers.Text",
        "state": "idle",
        "current_thread": None,
        "queue_depth": 0,
        "last_activity": None,
        "paused": False,
        "running": 0,
        "handled": 0,
        "restarts": 0,
        "isolation": "actor",
        "pid": 4711,
        "error": None,
    }
    return agent | changes


@dataclass
class FakeOrganism:
    """What the API shows. Tests change it, and read what was asked of it.

    unfold: messages that a thread still gets, one for each time it is asked for; then it takes `outcome`.
    drop_stream_after: the stream is cut after so many messages, once.
    lag_after: the stream says `lagged` after so many messages, once.
    failures: (status, body) answered to the next requests under /threads, first to last.
    keys: with which requests and sockets have to come, where there are any; `viewer` may not change anything.
    records: the audit log, the newest first. audit_refusals: of the next requests for it, first to last.
    """

    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    threads: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    unfold: list[tuple[str, str]] = field(default_factory=list)
    outcome: tuple[str, str | None] = ("completed", None)
    drop_stream_after: int | None = None
    lag_after: int | None = None
    failures: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    reload_answer: tuple[int, dict[str, Any]] = (200, {})
    stop: threading.Event = field(default_factory=threading.Event)
    keys: tuple[str, ...] = ()
    records: list[dict[str, Any]] = field(default_factory=list)
    audit_refusals: list[Refusal] = field(default_factory=list)
    url: str = ""

    def add_thread(self, thread_id: str, **changes: Any) -> None:
        thread = {"id": thread_id, "status": "active", "participants": ["console"], "message_count": 0}
        stamps = {"created_at": STAMP, "last_activity": STAMP, "error": None}
        self.threads[thread_id] = thread | stamps | changes

    def add_message(self, thread_id: str, sender: str, recipient: str, **changes: Any) -> dict[str, Any]:
        thread = self.threads[thread_id]
        message = {
            "id": f"message-{len(self.log) + 1}",
            "thread_id": thread_id,
            "from": sender,
            "to": recipient,
            "payload_type": "Text",
            "payload": {"text": f"from {sender}"},
            "timestamp": STAMP,
            "slot_index": thread["message_count"],
            "seq": len(self.log) + 1,
        } | changes
        thread["message_count"] += 1
        self.log.append(message)
        return message

    def add_audit_record(self, **changes: Any) -> None:
        record = {
            "seq": len(self.records) + 1, "at": STAMP, "who": "key:ci", "action": "pause", "target": "counter",
            "address": "127.0.0.1", "outcome": "ok", "detail": "",
        }  # fmt: skip
        self.records.insert(0, record | changes)

    def step(self, thread_id: str) -> None:
        thread = self.threads[thread_id]
        if self.unfold:
            self.add_message(thread_id, *self.unfold.pop(0))
        elif thread["status"] == "active":
            thread["status"], thread["error"] = self.outcome


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        error = {"code": code, "message": message} | ({} if details is None else {"details": details})
        self.response = JSONResponse({"error": error}, status)


def build(organism: FakeOrganism) -> FastAPI:
    app = FastAPI()
    app.include_router(_routes(organism), prefix="/api/v1")

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        return refusal.response

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.websocket("/ws/messages")
    async def stream(client: WebSocket) -> None:
        await client.accept()
        await _stream(organism, client)

    return app


class Guard:
    """Lets those in who have a key of the organism; health and readiness are open."""

    def __init__(self, app: ASGIApp, organism: FakeOrganism) -> None:
        self._app = app
        self._organism = organism

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] == "lifespan" or scope["path"] in ("/health", "/ready") or not self._organism.keys
        sent = dict(scope.get("headers", ())).get(b"authorization", b"").decode().removeprefix("Bearer ")
        if is_open or (sent in self._organism.keys and not (sent == "viewer" and scope.get("method") == "POST")):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        elif sent in self._organism.keys:
            refusal = Refusal(403, "forbidden", "this needs the role operator; key:ci is viewer")
            await refusal.response(scope, receive, send)
        else:
            await Refusal(401, "unauthenticated", "authentication is needed").response(scope, receive, send)


async def _stream(organism: FakeOrganism, client: WebSocket) -> None:
    command = await client.receive_json()
    organism.asked.append(("WS", "/ws/messages", command))
    if command["filter"].get("agents") == ["refuse-me"]:
        await client.send_json({"event": "error", "code": "invalid_request", "error": "filter.agents: no such agent"})
        return
    await client.send_json({"event": "ack", "cmd": "subscribe"})
    since = command["filter"].get("since", 0)
    sent, seq = 0, since if isinstance(since, int) else 0
    while not organism.stop.is_set():
        for message in organism.log[seq:]:
            if sent == organism.drop_stream_after:
                organism.drop_stream_after = None
                await client.close()
                return
            if sent == organism.lag_after:
                organism.lag_after = None
                await client.send_json({"event": "lagged", "from_seq": seq + 1, "to_seq": seq + 1})
                await client.receive()
                return
            seq = message["seq"]
            if message["to"] in command["filter"].get("agents", [message["to"]]):
                await client.send_json(message)
                sent += 1
        try:
            await asyncio.wait_for(client.receive_json(), 0.02)
        except TimeoutError:
            continue
        except WebSocketDisconnect:
            return


def _page(name: str, entries: list[Any], limit: int, offset: int) -> dict[str, Any]:
    shown = entries[offset : offset + limit]
    return {name: shown, "count": len(shown), "total": len(entries), "limit": limit, "offset": offset}


def _routes(organism: FakeOrganism) -> APIRouter:
    api = APIRouter()

    def asked(request: Request, body: Any = None) -> None:
        organism.asked.append((request.method, str(request.url).partition("/api/v1")[2], body))

    def agent(name: str) -> dict[str, Any]:
        if name not in organism.agents:
            raise Refusal(404, "not_found", f"no agent named {name!r}; GET /api/v1/agents lists them")
        return organism.agents[name]

    def thread(thread_id: str) -> dict[str, Any]:
        if thread_id not in organism.threads:
            raise Refusal(404, "not_found", f"no thread {thread_id!r}; leave thread_id out to start a new one")
        return organism.threads[thread_id]

    @api.get("/organism")
    async def get_organism() -> dict[str, Any]:
        counts = {"agent_count": len(organism.agents), "active_threads": 1, "total_messages": len(organism.log)}
        return {"name": "fake", "status": "running", "uptime_seconds": 90, **counts}

    @api.get("/agents")
    async def get_agents(limit: int = 50, offset: int = 0) -> dict[str, Any]:
        return _page("agents", list(organism.agents.values()), min(limit, 2), offset)

    @api.get("/threads")
    async def get_threads(request: Request, limit: int = 50, offset: int = 0) -> dict[str, Any]:
        asked(request)
        return _page("threads", list(organism.threads.values()), limit, offset)

    @api.get("/threads/{thread_id}", response_model=None)
    async def get_thread(thread_id: str) -> dict[str, Any] | Response:
        if organism.failures:
            status, body = organism.failures.pop(0)
            return Response(body, status, {"retry-after": "7"})
        found = dict(thread(thread_id))
        organism.step(thread_id)
        return {**_page("messages", [], 1, 0), **found}

    @api.get("/threads/{thread_id}/messages")
    async def get_thread_messages(thread_id: str, limit: int = 50, offset: int = 0) -> dict[str, Any]:
        return _page("messages", [each for each in organism.log if each["thread_id"] == thread_id], limit, offset)

    @api.get("/messages")
    async def get_messages(limit: int = 50, offset: int = 0, order: str = "asc") -> dict[str, Any]:
        return _page("messages", organism.log[:: -1 if order == "desc" else 1], limit, offset)

    @api.get("/dead-letters")
    async def get_dead_letters(request: Request, limit: int = 50, offset: int = 0) -> dict[str, Any]:
        asked(request)
        return _page("dead_letters", organism.dead, limit, offset)

    @api.post("/dead-letters/{message_id}/requeue")
    async def requeue(message_id: str) -> dict[str, Any]:
        for each in organism.dead:
            if each["id"] == message_id:
                organism.dead.remove(each)
                return each["message"]
        raise Refusal(404, "not_found", f"no dead letter {message_id!r}; GET /api/v1/dead-letters lists them")

    @api.post("/inject")
    async def inject(request: Request) -> dict[str, Any]:
        body = await request.json()
        asked(request, body)
        agent(body["to"])
        if not isinstance(body["payload"], dict):
            details = [{"path": "text", "problem": "Field required"}]
            raise Refusal(422, "invalid_payload", "payload is no Text for 'counter'", details)
        thread_id = body.get("thread_id") or f"thread-{len(organism.threads) + 1}"
        if thread_id not in organism.threads:
            organism.add_thread(thread_id)
        organism.threads[thread_id]["status"] = "active"
        message = organism.add_message(thread_id, "console", body["to"], payload=body["payload"])
        return {"thread_id": thread_id, "message_id": message["id"]}

    @api.post("/agents/{name}/{verb}")
    async def pause_or_resume(name: str, verb: str) -> dict[str, Any]:
        agent(name)["paused"] = verb == "pause"
        return agent(name)

    @api.post("/threads/{thread_id}/kill")
    async def kill(thread_id: str) -> dict[str, Any]:
        thread(thread_id)["status"] = "killed"
        return thread(thread_id)

    @api.post("/organism/reload")
    async def reload() -> Response:
        status, answer = organism.reload_answer
        return JSONResponse(answer, status)

    @api.post("/organism/stop")
    async def stop() -> dict[str, str]:
        organism.stop.set()
        return {"status": "stopping"}

    @api.get("/audit")
    async def get_audit(request: Request, limit: int, before: int = 2**53, after: int = 0) -> dict[str, Any]:
        asked(request)
        if organism.audit_refusals:
            raise organism.audit_refusals.pop(0)
        records = [each for each in organism.records if after < each["seq"] < before][:limit]
        return {"records": records, "count": len(records)}

    return api


@contextmanager
def serving(organism: FakeOrganism, certificate: tuple[Path, Path] | None = None) -> Iterator[FakeOrganism]:
    """Serves the fake on a free port of this machine, until the block ends or somebody posts to /organism/stop.

    certificate: the files of one and its key, to serve with TLS.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    organism.url = f"{'https' if certificate else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    cert, key = certificate or (None, None)
    config = uvicorn.Config(
        Guard(build(organism), organism), log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=2,
        ssl_certfile=cert, ssl_keyfile=key,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    stopper = threading.Thread(target=lambda: (organism.stop.wait(), setattr(server, "should_exit", True)))
    thread.start()
    stopper.start()
    try:
        yield organism
    finally:
        organism.stop.set()
        thread.join(10)
        stopper.join(10)
        listener.close()
