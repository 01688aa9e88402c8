"""What the commands of a WebSocket do, all but inject: each answers with what its ack carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket

from organism.access.principal import Principal
from serve_app.bounds import check_agent, check_letter, check_thread
from serve_app.commands import Auth, Kill, OfAgent, Requeue, Subscribe, SubscribeToLog
from serve_app.dependencies import Replica
from serve_app.login import identified, shown
from serve_app.outbox import Outbox
from serve_app.token_checks import payer_of

Verb = Callable[[Any], Awaitable[dict[str, Any]]]


def verbs_of(replica: Replica, principal: Principal, outbox: Outbox, websocket: WebSocket) -> dict[str, Verb]:
    """The verbs by command name, for the principal's connection, whose outbox this is."""

    async def subscribe(command: Subscribe | SubscribeToLog) -> dict[str, Any]:
        wanted = command.filter()
        replay = command.replay() if isinstance(command, SubscribeToLog) else outbox.replay
        outbox.subscribe(wanted, replica.hub.seq, replay if wanted.wants("message") else None)
        return {"seq": replica.hub.seq}

    async def unsubscribe(_: object) -> dict[str, Any]:
        outbox.subscribe(None, replica.hub.seq, None)
        return {"seq": replica.hub.seq}

    async def pause(command: OfAgent) -> dict[str, Any]:
        check_agent(principal, command.agent)
        return {"agent": await replica.pause(command.agent)}

    async def resume(command: OfAgent) -> dict[str, Any]:
        check_agent(principal, command.agent)
        return {"agent": await replica.resume(command.agent)}

    async def kill(command: Kill) -> dict[str, Any]:
        await check_thread(replica, principal, command.thread_id)
        return {"thread": (await replica.organism.kill_thread(command.thread_id)).to_api()}

    async def requeue(command: Requeue) -> dict[str, Any]:
        await check_letter(replica, principal, command.message_id)
        await replica.access.tokens.check(principal)
        message = await replica.organism.requeue(command.message_id, payer_of(principal))
        return {"message": message.to_api()}

    async def ping(_: object) -> dict[str, Any]:
        return {"seq": replica.hub.seq}

    async def auth(command: Auth) -> dict[str, Any]:
        """Nobody becomes somebody else; a token that is none is refused all the same, and a failed login."""
        await identified(websocket.scope, command.token, replica)
        return shown(principal)

    return {verb.__name__: verb for verb in (subscribe, unsubscribe, pause, resume, kill, requeue, ping, auth)}
