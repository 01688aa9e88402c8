"""The processes that search: a Serve application of their own, without HTTP, so that no ingest slows them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from librarian.errors import LibrarianError
from librarian.values import Filters
from organism.config_file import environment
from organism.garbage import calm_garbage_collector
from organism.ray_actors.library_search import search_application
from serve_app.launch_errors import ServeUnusable
from serve_app.librarian_settings import LibrarianSettings
from serve_app.librarian_writer import open_writer
from serve_app.opened import Opened
from serve_app.replica_log import log_to_launcher

if TYPE_CHECKING:
    from librarian.reader import Reader

MAX_REQUESTS = 1000
"""Requests that a replica works on at once: most of them wait for a model."""

PASSAGE = (
    "library_id", "file_path", "name", "chunk_type", "start_line", "end_line", "relevance_score", "snippet",
)  # fmt: skip
"""What a model is told of a source."""

LOGGING = {"log_level": "WARNING", "enable_access_log": False}


class Search:
    """One replica: a LibraryReader whose errors are answers, since Ray would wrap raised ones."""

    async def __init__(self, settings: LibrarianSettings) -> None:
        log_to_launcher()
        self._settings = settings
        self._closing = AsyncExitStack()
        self._reader = Opened(self._open)
        with suppress(LibrarianError):  # a wrong embedder, for one: whoever asks is told, and it is tried again
            await self._reader.get()
        calm_garbage_collector()

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of LibraryReader."""
        try:
            return await getattr(await self._reader.get(), method)(*arguments)
        except LibrarianError as error:
            return error

    async def stream(self, *arguments: Any) -> AsyncIterator[Any]:
        """As LibraryReader.stream_query; an error is the last item."""
        try:
            reader = await self._reader.get()
            written: Any = reader.stream_query(*arguments)
            async with aclosing(written) as events:
                async for event in events:
                    yield event
        except LibrarianError as error:
            yield error

    async def passages(self, query: str, limit: int) -> dict[str, Any]:
        """For the tool of session agents: {passages: [{library_id, file_path, …, snippet}]} or {error}."""
        found = await self.ask("search", (), query, limit, Filters(), False)
        if isinstance(found, LibrarianError):
            return {"error": str(found)}
        return {"passages": [{name: getattr(each, name) for name in PASSAGE} for each in found.sources]}

    async def __del__(self) -> None:
        """Serve awaits it when the replica is closed."""
        await self._closing.aclose()

    async def _open(self) -> Reader:
        from librarian.reader import Reader  # here, as the launcher imports this module, too

        settings = self._settings
        environ = environment(Path(settings.folder), os.environ)
        async with AsyncExitStack() as opened:
            writer = await opened.enter_async_context(open_writer(settings.llm, settings.model, environ))
            reader = Reader(root=settings.root, embedder=settings.embedder, environ=environ, writer=writer)
            await opened.enter_async_context(reader)
            self._closing = opened.pop_all()
        return reader


def deploy_search(settings: LibrarianSettings, namespace: str) -> None:
    """Has the replicas started and returns. Raises: ServeUnusable."""
    actor_options: dict[str, Any] = {"num_cpus": 0, "resources": settings.resources}
    if settings.variables:
        actor_options["runtime_env"] = {"env_vars": settings.variables}
    deployment = serve.deployment(
        name="Search",
        num_replicas=settings.replicas,
        max_ongoing_requests=MAX_REQUESTS,
        ray_actor_options=actor_options,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=2,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config=LOGGING,
    )(Search)
    target = serve.RunTarget(deployment.bind(settings), name=search_application(namespace), route_prefix=None)
    try:
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    except (RayError, RayServeException, RuntimeError) as error:
        raise ServeUnusable(str(error).strip().rpartition("\n")[2]) from error
