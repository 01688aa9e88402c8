"""The pump's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import ray

from organism.config import StorageSection
from organism.config_file import environment
from organism.encoding import (
    decode_injects,
    decode_report,
    encode_answers,
    encode_events,
)
from organism.errors import OrganismError
from organism.garbage import calm_garbage_collector
from organism.masked_log import mask_logs
from organism.messages import Message
from organism.ray_actors.cells import RayCells
from organism.ray_actors.metrics import Metrics
from organism.ray_actors.pump_name import PUMP
from organism.ray_actors.restarts import was_started_again
from organism.ray_actors.session_cells import RaySessionCells
from organism.runtime import Runtime, start_runtime
from organism.sessions.encoding import decode_appends, encode_frames, encode_loaded, encode_refusals
from organism.storage.opening import open_access_storage, open_session_storage, open_storage

logger = logging.getLogger(__name__)

REOPEN_S = 5.0


class PumpActor:
    """Runs the organism of one organism.yaml. Ray restarts it; then it goes on with what was active."""

    def __init__(self, path: str, namespace: str, storage: StorageSection) -> None:
        mask_logs()
        self._path = Path(path)
        self._namespace = namespace
        self._storage = storage
        self._opening: asyncio.Task[Runtime] | None = None
        self._metrics: asyncio.Task[None] | None = None
        self._is_second = was_started_again()
        if self._is_second:
            ray.get_runtime_context().current_actor.wake.remote()

    def __repr__(self) -> str:
        return PUMP

    async def wake(self) -> None:
        """Goes on after a restart, though nobody may call: work waits in the log."""
        logger.warning("the pump's process died; a new one goes on with what the log holds")
        while (error := await self.open()) is not None:
            logger.error("the pump cannot go on: %s", error)
            await asyncio.sleep(REOPEN_S)

    async def open(self) -> OrganismError | None:
        """Starts the organism; the error says why it cannot be."""
        try:
            await self._runtime()
        except OrganismError as error:
            return error
        return None

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of OrganismRef; an OrganismError is returned, since Ray would wrap a raised one."""
        try:
            return await getattr(await self._runtime(), method)(*arguments)
        except OrganismError as error:
            return error

    async def submit(self, injects: bytes) -> bytes | OrganismError:
        """As `ask`, with injects and answers in one piece each."""
        answers = await self.ask("submit", decode_injects(injects))
        return answers if isinstance(answers, OrganismError) else encode_answers(answers)

    async def events(self, incarnation: str, cursor: int, timeout_s: float) -> bytes | OrganismError:
        """As `ask`, with the batch in one piece."""
        batch = await self.ask("events", incarnation, cursor, timeout_s)
        return batch if isinstance(batch, OrganismError) else encode_events(batch)

    async def report(self, report: bytes) -> OrganismError | None:
        """See PumpLink; an error says that it is to be tried again."""
        try:
            await (await self._runtime()).desk.report(decode_report(report))
        except OrganismError as error:
            return error
        return None

    async def history(self, thread_id: str, until_slot: int, limit: int) -> list[Message] | OrganismError:
        """See PumpLink; an error says that it is to be tried again."""
        try:
            return await (await self._runtime()).desk.history(thread_id, until_slot, limit)
        except OrganismError as error:
            return error

    async def ask_sessions(self, method: str, *arguments: Any) -> Any:
        """Calls a method of DirectoryRef; errors as in `ask`."""
        try:
            return await getattr((await self._runtime()).sessions, method)(*arguments)
        except OrganismError as error:
            return error

    async def session_events(self, session_id: str, after_seq: int, limit: int) -> bytes | OrganismError:
        """As `ask_sessions`, with the events in one piece."""
        frames = await self.ask_sessions("events", session_id, after_seq, limit)
        return frames if isinstance(frames, OrganismError) else encode_frames(frames)

    async def ask_access(self, method: str, *arguments: Any) -> Any:
        """Calls a method of AccessRef; errors as in `ask`."""
        try:
            return await getattr((await self._runtime()).access, method)(*arguments)
        except OrganismError as error:
            return error

    async def ask_desk(self, method: str, *arguments: Any) -> Any:
        """Calls a method of SessionLink; errors as in `ask`."""
        try:
            return await getattr((await self._runtime()).sessions.desk, method)(*arguments)
        except OrganismError as error:
            return error

    async def load_session(self, session_id: str, incarnation: str) -> bytes | OrganismError:
        """As `ask_desk`, with the session in one piece."""
        loaded = await self.ask_desk("load", session_id, incarnation)
        return loaded if isinstance(loaded, OrganismError) else encode_loaded(loaded)

    async def append_to_sessions(self, appends: bytes) -> bytes | OrganismError:
        """As `ask_desk`, with appends and answers in one piece each."""
        answers = await self.ask_desk("append", decode_appends(appends))
        return answers if isinstance(answers, OrganismError) else encode_refusals(answers)

    async def wait_stopped(self) -> None:
        await (await self._runtime()).wait_stopped()

    async def close(self) -> None:
        """Ends the cells and closes the storage."""
        if self._metrics is not None:
            self._metrics.cancel()
        if self._opening is not None:
            with contextlib.suppress(OrganismError):
                await (await asyncio.shield(self._opening)).close()

    async def _runtime(self) -> Runtime:
        # Whoever calls first starts it: after a restart by Ray nobody calls open().
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._open(), name="open")
        return await asyncio.shield(self._opening)

    async def _open(self) -> Runtime:
        folder = self._path.parent
        environ = environment(folder, os.environ)
        runtime = await start_runtime(
            self._path,
            lambda _: RayCells(self._namespace),
            session_host=lambda _: RaySessionCells(self._namespace),
            storage=open_storage(self._storage, folder, environ),
            session_storage=open_session_storage(self._storage, folder, environ),
            access_storage=open_access_storage(self._storage, folder, environ),
            resume=self._is_second,
            on_failure=_end_process,
        )
        calm_garbage_collector()
        self._metrics = asyncio.create_task(Metrics(runtime).run(), name="metrics")
        return runtime


def _end_process(error: BaseException) -> None:
    """A pump with a broken task must not live on: Ray starts a new one, which reads the log."""
    logger.critical("the pump failed and is started again", exc_info=error)
    os._exit(1)


RemotePump: Any = ray.remote(PumpActor)
