"""The search_library tool's way to the librarian: its Serve application, found by name; nothing of it is imported."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray.exceptions import RayError

from organism.ray_actors.reasons import reason_of
from organism.sessions.tools.base import ToolFailed

TIMEOUT_S = 20.0


def search_application(namespace: str) -> str:
    """The name of the Serve application that searches the libraries of the organism in this namespace.

    Its ingress has `passages(query, limit)`: {passages} or {error}, JSON-like.
    """
    return f"{namespace}-librarian"


class RayLibrarySearch:
    """Implements LibrarySearch (search_library.py)."""

    def __init__(self, namespace: str) -> None:
        self._application = search_application(namespace)
        self._handle: Any = None

    async def __call__(self, query: str, limit: int) -> Any:
        """Raises: ToolFailed."""
        if self._handle is None:
            self._handle = await asyncio.to_thread(self._find)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._handle.passages.remote(query, limit)
        except RayError as error:
            raise ToolFailed(f"the librarian does not answer: {reason_of(error)}") from error
        except TimeoutError as error:
            raise ToolFailed(f"the librarian does not answer within {TIMEOUT_S:g} s") from error
        if "error" in answer:
            raise ToolFailed(answer["error"])
        return answer["passages"]

    def _find(self) -> Any:
        from ray import serve  # half a second and 20 MB, which sessions that never search do not pay
        from ray.serve.exceptions import RayServeException

        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it tells of each of its connections
        try:
            return serve.get_app_handle(self._application)
        except RayServeException as error:
            raise ToolFailed("there is no librarian here, or it is being started") from error
