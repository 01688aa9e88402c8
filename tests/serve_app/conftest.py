from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fake_organism import FakeOrganism

from organism.ref import OrganismRef
from serve_app.app import build_app


@pytest.fixture
def organism() -> FakeOrganism:
    return FakeOrganism()


@asynccontextmanager
async def client_of(organism: OrganismRef) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application in this process; requests that fail with a bug are answered, not raised."""
    app = build_app(organism)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://organism") as client,
    ):
        yield client


@pytest.fixture
async def client(organism: FakeOrganism) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(organism) as client:
        yield client
