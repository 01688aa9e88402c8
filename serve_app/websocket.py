"""`/ws` and `/ws/messages`: one connection is a reader of commands and a writer of what waits in its outbox."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from organism.access.principal import Principal
from organism.errors import OrganismError
from serve_app.client import POLICY_VIOLATION, Client, refuse
from serve_app.commands import EVENT_COMMANDS, LOG_COMMANDS, NoQuery, StreamQuery, replay_since
from serve_app.connected import connected_text
from serve_app.dependencies import Replica, ReplicaDep
from serve_app.frames import EVERYTHING
from serve_app.login import NoLogin, log_in
from serve_app.outbox import Outbox, Replay
from serve_app.queries import validated

router = APIRouter()


@router.websocket("/ws")
async def stream_events(websocket: WebSocket, replica: ReplicaDep) -> None:
    principal = await _admitted(websocket, replica)
    if principal is None:
        return
    outbox = Outbox(replica.live.limits.client_queue, EVERYTHING, principal)
    client = Client(websocket, replica, principal, EVENT_COMMANDS, outbox)

    def begin() -> Replay | None:
        since = validated(StreamQuery, websocket.query_params).since
        outbox.reply(connected_text(replica.live, principal, replica.hub.seq))
        return replay_since(since)

    await client.serve(begin)


@router.websocket("/ws/messages")
async def stream_messages(websocket: WebSocket, replica: ReplicaDep) -> None:
    principal = await _admitted(websocket, replica)
    if principal is None:
        return
    outbox = Outbox(replica.live.limits.client_queue, None, principal, only_messages=True)
    client = Client(websocket, replica, principal, LOG_COMMANDS, outbox)

    def begin() -> None:
        validated(NoQuery, websocket.query_params)
        replica.live.organism()  # refuses while there is no picture yet

    await client.serve(begin)


async def _admitted(websocket: WebSocket, replica: Replica) -> Principal | None:
    """Who is at the other end; None where nobody known is, and the connection has been closed."""
    await websocket.accept()
    try:
        return await log_in(websocket, replica)
    except OrganismError as error:
        await refuse(websocket, error)
    except NoLogin:
        await websocket.close(POLICY_VIOLATION, "authentication is needed")
    except WebSocketDisconnect:
        pass
    return None
