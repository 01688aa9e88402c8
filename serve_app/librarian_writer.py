"""The language models of the organism, as the librarian's answers use them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from serve_app.librarian_settings import LibrarianSettings


@asynccontextmanager
async def open_writer(settings: LibrarianSettings, environ: Mapping[str, str]) -> AsyncIterator[Any]:
    """None where no model is configured: answers are extractive then."""
    yield None
