"""`/ws` and `/ws/messages`: one connection is a reader of commands and a writer of what waits in its outbox."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.websockets import WebSocket

from serve_app.client import Client
from serve_app.commands import EVENT_COMMANDS, LOG_COMMANDS, NoQuery, StreamQuery, replay_since
from serve_app.dependencies import ReplicaDep
from serve_app.frames import EVERYTHING
from serve_app.outbox import Outbox, Replay
from serve_app.queries import validated

router = APIRouter()


@router.websocket("/ws")
async def stream_events(websocket: WebSocket, replica: ReplicaDep) -> None:
    client = Client(websocket, replica, EVENT_COMMANDS, Outbox(replica.live.limits.client_queue, EVERYTHING))

    def begin() -> Replay | None:
        since = validated(StreamQuery, websocket.query_params).since
        client.outbox.reply(replica.live.connected_text(replica.hub.seq))
        return replay_since(since)

    await client.serve(begin)


@router.websocket("/ws/messages")
async def stream_messages(websocket: WebSocket, replica: ReplicaDep) -> None:
    outbox = Outbox(replica.live.limits.client_queue, None, only_messages=True)
    client = Client(websocket, replica, LOG_COMMANDS, outbox)

    def begin() -> None:
        validated(NoQuery, websocket.query_params)
        replica.live.organism()  # refuses while there is no picture yet

    await client.serve(begin)
