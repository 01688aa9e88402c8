"""python-socketio with queues that can be waited for, an owner for its tasks, and an eye on what it cannot read."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import engineio
import socketio
from engineio.async_socket import AsyncSocket
from engineio.packet import Packet
from starlette.types import Message, Receive, Send

from organism.masking import mask_text
from organism.tasks import Tasks
from serve_app.gate import is_origin_of
from serve_app.socketio.packets import ClientPacket

MAX_QUEUED_PACKETS = 2_000
MAX_QUEUED_CHARS = 4_000_000
"""What waits for one client before those who send to it wait."""

STALL_S = 30.0
"""A client that takes nothing for so long is cut off; it connects again and joins with `after`."""

LAST_WORDS_S = 5.0
"""Until a client is cut off that does not read why it is refused."""

CONNECT_WITHIN_S = 5.0
"""Until a client is cut off that does not say CONNECT."""

NAMESPACE = "/"
PROTOCOL_ERROR = 1002

FRAME = re.compile(r"4[0-6]|(?:[1356]|2|3|2probe|3probe)\Z")
"""How a text of Engine.IO begins where it comes from a client; MESSAGE is always one of Socket.IO."""

_log = logging.getLogger(__name__)


def silent_log() -> logging.Logger:
    """For the libraries: what they log is what clients send, with stack traces. Our own failures are logged by us."""
    log = logging.getLogger(f"{__name__}.protocol")
    log.setLevel(logging.CRITICAL + 1)
    return log


class Backlog(asyncio.Queue[Packet | None]):
    """What waits for one client. `put` never waits, as the protocol's own packets are few; events ask for `room`."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)  # type: ignore[misc]
        self.chars = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def _put(self, item: Packet | None) -> None:
        self.chars += _size(item)
        super()._put(item)  # type: ignore[misc]
        if self.chars > MAX_QUEUED_CHARS or self.qsize() > MAX_QUEUED_PACKETS:
            self._has_room.clear()

    def _get(self) -> Packet | None:
        item: Packet | None = super()._get()  # type: ignore[misc]
        self.chars -= _size(item)
        if self.chars <= MAX_QUEUED_CHARS // 2 and self.qsize() <= MAX_QUEUED_PACKETS // 2:
            self._has_room.set()
        return item

    async def room(self) -> None:
        """Returns when there is some."""
        if not self._has_room.is_set():
            await self._has_room.wait()


def _size(item: Packet | None) -> int:
    return len(item.data) if item is not None and isinstance(item.data, str | bytes) else 0


class Engine(engineio.AsyncServer):
    def __init__(self, **options: Any) -> None:
        self.tasks = Tasks(_report)
        super().__init__(**options)

    def create_queue(self, *_: Any, **__: Any) -> Backlog:
        return Backlog()

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        return self.tasks.spawn(target(*args, **kwargs), f"socket.io {target.__name__}")

    def _bad_request(self, message: str | None = None) -> dict[str, Any]:
        """Tells the client the sid that it gave, which may be a key that was put in the wrong place."""
        return super()._bad_request(None if message is None else mask_text(message))

    async def disconnect(self, sid: str | None = None) -> None:
        """As the library calls it where a client breaks the protocol; its own waits until the client has read all."""
        if (socket := self.sockets.get(sid)) is not None:
            await self._end(socket)

    def cut_off(self, socket: AsyncSocket) -> None:
        """Ends the client's connection, whether it reads or not; does not wait for it."""
        self.start_background_task(self._end, socket)

    def end_when_read(self, socket: AsyncSocket) -> None:
        """Ends the connection when the client has read what waits for it, or does not read; does not wait for it."""
        self.start_background_task(self._end_when_read, socket)

    async def _end_when_read(self, socket: AsyncSocket) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await socket.queue.join()
        await self._end(socket)

    async def _end(self, socket: AsyncSocket) -> None:
        await socket.close(wait=False, abort=True, reason=self.reason.SERVER_DISCONNECT)
        socket.queue.put_nowait(None)  # ends the writer, and it the connection

    async def close(self) -> None:
        """Ends all connections and all tasks."""
        for socket in list(self.sockets.values()):
            await self._end(socket)
        await self.tasks.close()


def _report(error: BaseException) -> None:
    _log.error("a task of Socket.IO failed", exc_info=error)


class Server(socketio.AsyncServer):
    """Handlers run as tasks, so that a slow one does not keep the answers to pings from being read.

    is_allowed: whether pages of another origin may use it, by the Origin header.
    """

    eio: Engine

    def __init__(self, is_allowed: Callable[[str], bool]) -> None:
        log = silent_log()
        super().__init__(
            async_mode="asgi",
            serializer=ClientPacket,
            logger=log,  # type: ignore[arg-type]
            engineio_logger=log,
            cors_allowed_origins=lambda origin, environ: (
                is_origin_of(environ.get("HTTP_HOST", ""), origin) or is_allowed(origin)
            ),
            cors_credentials=False,
            http_compression=False,
        )

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    def is_connected(self, eio_sid: str) -> bool:
        sid = self.manager.sid_from_eio_sid(eio_sid, NAMESPACE)
        return sid is not None and self.manager.is_connected(sid, NAMESPACE)

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self.eio.start_background_task(self._expect_connect, eio_sid)

    async def _expect_connect(self, eio_sid: str) -> None:
        await asyncio.sleep(CONNECT_WITHIN_S)
        if not self.is_connected(eio_sid):
            await self.eio.disconnect(eio_sid)

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        """One that is refused has no second try on the same connection."""
        socket = self.eio.sockets.get(eio_sid)
        await super()._handle_connect(eio_sid, namespace, data)
        if socket is not None and not self.is_connected(eio_sid):
            self.eio.end_when_read(socket)


class Connection:
    """One WebSocket as the library sees it.

    A frame that the library cannot read, or that is too large, ends the connection: the library would fail on it, and
    keep what it holds for the client until its next ping is due. So does a client that takes nothing for STALL_S.
    """

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._receiver: asyncio.Task[Any] | None = None
        self._is_stalled = False

    async def receive(self) -> Message:
        self._receiver = asyncio.current_task()
        message = await self._receive()
        if message["type"] == "websocket.receive" and not self._can_be_read(message):
            return {"type": "websocket.disconnect", "code": PROTOCOL_ERROR}
        return message

    async def send(self, message: Message) -> None:
        """Raises: OSError, where the client has gone or does not read."""
        if self._is_stalled:
            raise ConnectionResetError("the client does not read")
        try:
            async with asyncio.timeout(STALL_S):
                await self._send(message)
        except TimeoutError:
            self._is_stalled = True
            if self._receiver is not None:
                self._receiver.cancel()  # the library waits for it before it gives the client up
            raise

    def _can_be_read(self, message: Message) -> bool:
        data = message.get("bytes")
        if data is not None:
            return 0 < len(data) <= self._max_bytes
        text: str = message.get("text") or ""
        return len(text) <= self._max_bytes and FRAME.match(text) is not None
