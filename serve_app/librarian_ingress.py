"""The processes that search: a Serve application of their own, without HTTP, so that no ingest slows them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

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
from serve_app.replica_log import log_to_launcher

logger = logging.getLogger(__name__)

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
        from librarian.reader import Reader  # here, as the launcher imports this module, too

        log_to_launcher()
        environ = environment(Path(settings.folder), os.environ)
        self._closing = AsyncExitStack()
        writer = await self._closing.enter_async_context(open_writer(settings.llm, settings.model, environ))
        reader = Reader(root=settings.root, embedder=settings.embedder, environ=environ)
        self._reader = await self._closing.enter_async_context(reader)
        calm_garbage_collector()

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of LibraryReader."""
        try:
            return await getattr(self._reader, method)(*arguments)
        except LibrarianError as error:
            return error

    async def passages(self, query: str, limit: int) -> dict[str, Any]:
        """For the tool of session agents: {passages: [{library_id, chunk_id, file_path, …, content}]} or {error}."""
        try:
            found = await self._reader.search((), query, limit, Filters(), False)
        except LibrarianError as error:
            return {"error": str(error)}
        return {"passages": [{name: getattr(each, name) for name in PASSAGE} for each in found.sources]}

    async def stream(self, *arguments: Any) -> AsyncIterator[Any]:
        """As LibraryReader.stream_query; an error is the last item."""
        try:
            async with aclosing(self._reader.stream_query(*arguments)) as events:
                async for event in events:
                    yield event
        except LibrarianError as error:
            yield error

    async def __del__(self) -> None:
        """Serve awaits it when the replica is closed."""
        await self._closing.aclose()


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
