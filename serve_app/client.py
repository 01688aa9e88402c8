"""One WebSocket connection: reads and obeys commands, writes what its outbox holds, replays the log where asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from organism.access.audit import AuditRecord
from organism.access.principal import Principal
from organism.errors import OrganismError, OrganismUnreachable
from organism.messages import Accepted, Message
from serve_app.auth import BROKEN_OFF, check_role, record_of
from serve_app.bounds import check_agent, check_thread, sees_message
from serve_app.commands import (
    COMMAND_ROLES,
    COMMAND_TARGETS,
    Command,
    Inject,
    echo_of,
    log_filter,
    parse_command,
)
from serve_app.connected import connected_text
from serve_app.dependencies import Replica
from serve_app.error_handlers import status_of
from serve_app.errors import BodyTooLarge, MalformedBody
from serve_app.frames import Frame, heartbeat_text, message_frame, refusal_text, text_of
from serve_app.injecting import inject_of, parse_object
from serve_app.outbox import Outbox, Replay
from serve_app.token_checks import payer_of
from serve_app.verbs import verbs_of

MAX_OPEN_COMMANDS = 4096
"""Commands of one connection whose answer has not been sent; no more are read meanwhile."""

FRAMES_PER_TURN = 64
"""Frames sent to one client before the others get their turn."""

STALL_S = 30.0
"""A client that takes nothing for so long is cut off."""

REPLAY_PAGE = 1000
REPLAY_RETRY_S = 1.0
CLOSE_TIMEOUT_S = 1.0
INTERNAL_ERROR_STATUS = 500

TRY_AGAIN_LATER = 1013
POLICY_VIOLATION = 1008


class ClientStalled(Exception):
    """The client has not read anything for STALL_S."""


class Client:
    """Reader and writer run as two tasks; neither waits for the other, save that unread answers stop the reader."""

    def __init__(
        self,
        websocket: WebSocket,
        replica: Replica,
        principal: Principal,
        commands: dict[str, type[Command]],
        outbox: Outbox,
    ) -> None:
        self._websocket = websocket
        self._replica = replica
        self._principal = principal
        self._auditor = replica.access.auditor if replica.access.ref is not None else None
        self._commands = commands
        self.outbox = outbox
        self._open_commands = 0
        self._answers = 0
        self._room = asyncio.Event()
        self._last_inject: asyncio.Future[Accepted] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._writing = False
        self._stalled = False
        self._sent = 0
        self._sent_before = 0
        self._progress_s = asyncio.get_running_loop().time()
        self._verbs = verbs_of(replica, principal, outbox, websocket)

    # Called by the hub

    def offer(self, frames: list[Frame], seq: int) -> None:
        self.outbox.offer(frames, seq)

    def start_over(self, connected: Frame) -> None:
        if self._principal.bounds is not None:
            text = connected_text(self._replica.live, self._principal, self._replica.hub.seq)
            connected = Frame("connected", None, text)
        self.outbox.start_over(connected)

    def tick(self, now_s: float) -> None:
        """Sends a heartbeat on an idle connection, cuts off one that does not read."""
        if self._sent != self._sent_before:
            self._sent_before, self._progress_s = self._sent, now_s
        elif self._writing:
            if now_s - self._progress_s > STALL_S and self._writer is not None:
                self._stalled = True
                self._writer.cancel()
        elif now_s - self._progress_s >= self._replica.live.api.heartbeat_s:
            self.outbox.reply(heartbeat_text(self._replica.hub.seq))

    # The connection's life

    async def serve(self, begin: Callable[[], Replay | None]) -> None:
        """Stays until the connection, which has been accepted, ends, or who opened it is let in no more. `begin`
        queues the first events, or refuses."""
        life = asyncio.timeout(None)
        try:
            async with life:
                with self._replica.access.stream(self._principal, partial(life.reschedule, 0.0)):
                    await self._live(begin)
        except OrganismError as error:
            await refuse(self._websocket, error)
        except TimeoutError:
            if not life.expired():
                raise
            await self._close(POLICY_VIOLATION, "the key or token of this connection is no longer valid")

    async def _live(self, begin: Callable[[], Replay | None]) -> None:
        """Raises: what refuses the connection."""
        self._replica.check_room()
        self.outbox.replay = begin()
        self._replica.hub.add(self)  # nothing was awaited since `begin`: no event is missed, none comes twice
        try:
            await self._converse()
        finally:
            self._replica.hub.remove(self)

    async def _converse(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._writer = tasks.create_task(self._write(), name="websocket writer")
                await self._read()
        except* WebSocketDisconnect:
            pass
        except* ClientStalled:
            await self._close(TRY_AGAIN_LATER, "nothing was read for too long")

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):  # the close frame may find no room either
                await self._websocket.close(code, reason)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return

    # Writing

    async def _write(self) -> None:
        try:
            while True:
                await self.outbox.ready()
                await self._write_what_waits()
                if self.outbox.replay is not None:
                    await self._replay_page(self.outbox.replay)
        except asyncio.CancelledError:
            if self._stalled:
                raise ClientStalled from None
            raise

    async def _write_what_waits(self) -> None:
        replies, events = self.outbox.take()
        answers, self._answers = self._answers, 0
        await self._send_all(replies)
        self._open_commands -= answers
        self._room.set()
        await self._send_all(events)

    async def _send_all(self, texts: list[str]) -> None:
        if not texts:
            return
        self._writing, self._progress_s = True, asyncio.get_running_loop().time()
        for text in texts:
            await self._websocket.send({"type": "websocket.send", "text": text})
            self._sent += 1
            if self._sent % FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)
        self._writing = False

    async def _replay_page(self, replay: Replay) -> None:
        """Sends the next page of old messages; the last one ends the replay where live events begin."""
        hub, wanted = self._replica.hub, self.outbox.filter
        assert wanted is not None
        published_seq = hub.seq  # and so committed: a page read from now on holds everything up to here
        try:
            if replay.after_seq > published_seq:
                replay.after_seq = min(replay.after_seq, (await self._replica.organism.snapshot()).seq)
            page = await self._replica.organism.message_page(log_filter(wanted, replay), REPLAY_PAGE)
        except OrganismError:
            await asyncio.sleep(REPLAY_RETRY_S)  # the pump restarts, or the storage does not answer: it will
            return
        if self.outbox.replay is not replay:
            return  # another subscribe came meanwhile
        replay.after_seq = max([replay.after_seq, *(message.seq for message in page[-1:])])
        await self._send_all([self.outbox.text_of(message_frame(message)) for message in self._seen(page)])
        if len(page) < REPLAY_PAGE:
            replay.after_seq = max(replay.after_seq, published_seq)
            if replay.after_seq >= hub.seq and self.outbox.replay is replay:
                self.outbox.end_replay(replay.after_seq)

    def _seen(self, page: list[Message]) -> list[Message]:
        if self._principal.bounds is None:
            return page
        return [message for message in page if sees_message(self._principal, message)]

    # Reading

    async def _read(self) -> None:
        while True:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(event.get("code", 1005))
            while self._open_commands >= MAX_OPEN_COMMANDS:
                self._room.clear()
                await self._room.wait()
            self._open_commands += 1
            if self._principal.credential:
                delay_s = self._replica.access.usage.command_delay_s(self._principal.id)
                if delay_s > 0:
                    await asyncio.sleep(delay_s)
            await self._answer_command(event)

    async def _answer_command(self, event: Any) -> None:
        echo: dict[str, Any] = {}
        try:
            fields = parse_object(self._text_in(event))
            echo = echo_of(fields)
            command = parse_command(fields, self._commands)
            answer = await self._obey_recorded(command, echo)
        except OrganismError as error:
            self._answer(refusal_text(error, echo))
        except TimeoutError:
            timeout_s = self._replica.live.api.request_timeout_s
            self._answer(refusal_text(OrganismUnreachable(f"no answer within {timeout_s:g} s"), echo))
        else:
            if answer is not None:
                self._answer(text_of({"event": "ack", **echo, **answer}))

    def _text_in(self, event: Any) -> str:
        text, most = event.get("text"), self._replica.live.limits.max_body_bytes
        if text is None:
            raise MalformedBody("binary frames are not taken; send JSON as text")
        if len(text) > most or (4 * len(text) > most and len(text.encode()) > most):
            raise BodyTooLarge("frame", most, "limits.max_body_bytes")
        return text

    async def _obey_recorded(self, command: Command, echo: dict[str, Any]) -> dict[str, Any] | None:
        """As _obey. One record of each verb; that of an inject is made when it is committed, see _acknowledge."""
        if self._auditor is None or command.cmd not in COMMAND_TARGETS:
            return await self._obey(command, echo)
        try:
            answer = await self._obey(command, echo)
        except OrganismError as error:
            await self._record(command, status_of(error))
            raise
        except BaseException:  # too late, or cancelled, as the client has left or its key was revoked, or a bug
            self._note(command, INTERNAL_ERROR_STATUS, BROKEN_OFF)
            raise
        if answer is not None:
            await self._record(command, 200)
        return answer

    async def _record(self, command: Command, status: int) -> None:
        if self._auditor is None or isinstance(command, Inject):  # they come by the thousand
            self._note(command, status)
        else:
            await self._auditor.keep(self._record_of(command, status))

    def _note(self, command: Command, status: int, detail: str = "") -> None:
        """Does not wait. Injects as over HTTP: only where it is known who it was."""
        if self._auditor is not None and (self._principal.credential or not isinstance(command, Inject)):
            self._auditor.note(self._record_of(command, status, detail))

    def _record_of(self, command: Command, status: int, detail: str = "") -> AuditRecord:
        target = getattr(command, COMMAND_TARGETS[command.cmd])
        return record_of(self._websocket.scope, command.cmd, target, status, detail)

    async def _obey(self, command: Command, echo: dict[str, Any]) -> dict[str, Any] | None:
        """What the acknowledgement carries; None for an inject, which is answered later.

        Raises:
            TimeoutError: there was no answer within api.request_timeout_s.
        """
        check_role(self._principal, COMMAND_ROLES[command.cmd])
        if isinstance(command, Inject):
            if self._principal.bounds is not None:
                check_agent(self._principal, command.to)
                if command.thread_id is not None:
                    await check_thread(self._replica, self._principal, command.thread_id)
            await self._replica.access.tokens.check(self._principal)
            self._inject(command, echo)
            return None
        async with asyncio.timeout(self._replica.live.api.request_timeout_s):
            await self._injects_done()
            return await self._verbs[command.cmd](command)

    def _inject(self, command: Inject, echo: dict[str, Any]) -> None:
        """Hands the message on and reads the next command: the answer comes when it is committed."""
        inject = inject_of(command, self._replica.classes, self._replica.live)
        self._last_inject = self._replica.inlet.submit(inject._replace(owner=payer_of(self._principal)))
        self._last_inject.add_done_callback(partial(self._acknowledge, command, echo))

    def _acknowledge(self, command: Inject, echo: dict[str, Any], future: asyncio.Future[Accepted]) -> None:
        error = future.exception()
        status = 200 if error is None else INTERNAL_ERROR_STATUS
        self._note(command, status_of(error) if isinstance(error, OrganismError) else status)
        if error is None:
            self._answer(text_of({"event": "ack", **echo, **future.result()._asdict()}))
        elif isinstance(error, OrganismError):
            self._answer(refusal_text(error, echo))
        else:
            self._answer(refusal_text(OrganismError("internal error; its cause is in the replica's log"), echo))
            raise error  # to the event loop's exception handler, which logs it

    async def _injects_done(self) -> None:
        """Commands take effect in order; injects are answered in theirs, so the last one stands for all."""
        if self._last_inject is not None and not self._last_inject.done():
            await asyncio.wait([self._last_inject])

    def _answer(self, text: str) -> None:
        self._answers += 1
        self.outbox.reply(text)


async def refuse(websocket: WebSocket, error: OrganismError) -> None:
    """Tells why, and closes."""
    code = TRY_AGAIN_LATER if status_of(error) in (429, 503) else POLICY_VIOLATION
    try:
        await websocket.send_text(refusal_text(error, {}))
        await websocket.close(code)
    except WebSocketDisconnect:
        return
