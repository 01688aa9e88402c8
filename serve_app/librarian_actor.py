"""The process that ingests: one named Ray actor for an organism, started by the first who wants something ingested."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from librarian.errors import LibrarianError
from organism import ray_actors
from organism.config_file import environment
from organism.garbage import calm_garbage_collector
from organism.masked_log import mask_logs
from organism.private_folder import make_private
from organism.ray_actors.pump_name import MAX_CALLS
from organism.ray_actors.restarts import was_started_again
from organism.tasks import Tasks
from serve_app.ingest_announcer import IngestAnnouncer
from serve_app.librarian_settings import LibrarianSettings
from serve_app.opened import Opened

if TYPE_CHECKING:
    from librarian.ingester import Ingester

logger = logging.getLogger(__name__)

LIBRARIAN = "librarian"
CLOSE_TIMEOUT_S = 3.0
"""How long it may take to end its ingests, and what they have started."""


class IngestActor:
    """Runs an Ingester. Ray restarts it; what it was ingesting is to be sent again then."""

    def __init__(self, settings: LibrarianSettings, namespace: str) -> None:
        mask_logs()
        self._settings = settings
        self._announcer = IngestAnnouncer(lambda: ray_actors.connect(namespace))
        self._tasks = Tasks(_end_process)
        self._closing = contextlib.AsyncExitStack()
        self._ingester = Opened(self._open)
        if was_started_again():
            ray.get_runtime_context().current_actor.wake.remote()

    def __repr__(self) -> str:
        return LIBRARIAN

    async def wake(self) -> None:
        """After a restart: tells everybody what became of the ingests that were under way, though nobody may ask."""
        with contextlib.suppress(LibrarianError):  # whoever asks next is told
            await self._ingester.get()

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of LibraryIngester; a LibrarianError is returned, since Ray would wrap a raised one."""
        try:
            return await getattr(await self._ingester.get(), method)(*arguments)
        except LibrarianError as error:
            return error

    async def close(self) -> None:
        """Cancels what runs: libraries stay as they were."""
        await self._closing.aclose()
        await self._tasks.close()

    async def _open(self) -> Ingester:
        from librarian.ingester import Ingester  # here, as whoever starts this actor imports the module, too
        from librarian.ray_ingest import analyze_on_ray

        settings = self._settings
        if "://" not in settings.root:
            with contextlib.suppress(OSError):  # the librarian says what is wrong with the folder
                await asyncio.to_thread(make_private, Path(settings.root))
        ingester = Ingester(
            root=settings.root,
            rules=settings.rules,
            embedder=settings.embedder,
            environ=environment(Path(settings.folder), os.environ),
            on_progress=self._announcer.put,
            analyze_large=functools.partial(analyze_on_ray, workers=settings.workers),
        )
        await self._closing.enter_async_context(ingester)
        self._tasks.spawn(self._announcer.run(), "announcer")
        calm_garbage_collector()
        return ingester


def _end_process(error: BaseException) -> None:
    """A process with a broken task must not live on: Ray starts a new one."""
    logger.critical("the librarian failed and is started again", exc_info=error)
    os._exit(1)


RemoteIngest: Any = ray.remote(IngestActor)


def find_ingest(namespace: str) -> Any:
    """The actor, None where nobody has started it."""
    try:
        return ray.get_actor(LIBRARIAN, namespace)
    except ValueError:
        return None


def start_ingest(namespace: str, settings: LibrarianSettings) -> Any:
    """The actor, started where it does not run yet; blocks for a call or two of Ray."""
    return RemoteIngest.options(
        name=LIBRARIAN,
        namespace=namespace,
        get_if_exists=True,
        lifetime="detached",  # the API replica that happens to start it may be replaced
        max_restarts=-1,
        max_concurrency=MAX_CALLS,
        num_cpus=0,
        resources=settings.resources,
        runtime_env={"env_vars": settings.variables} if settings.variables else None,
    ).remote(settings, namespace)


async def end_ingest(namespace: str) -> None:
    """Ends the actor, if there is one, and what it has started."""
    actor = find_ingest(namespace)
    if actor is None:
        return
    with contextlib.suppress(RayError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await actor.close.remote()
    ray.kill(actor)
