from __future__ import annotations

import re

import httpx
import pytest

from serve_app.app import build_app
from serve_app.gate import Place
from tests.serve_app.fake_organism import FakeOrganism


@pytest.fixture
async def client():
    app = build_app(FakeOrganism(), place=Place("127.0.0.1"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000") as client,
    ):
        yield client


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_a_page_loads_nothing_from_elsewhere(client, page):
    answer = await client.get(page)
    assert answer.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href|spec-url)="([^"]+)"', answer.text)
    assert len(loaded) >= 3
    for path in loaded:
        assert path.startswith("/"), path
        assert (await client.get(path)).status_code == 200, path
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "//" not in policy[0]


async def test_the_document_is_found_behind_a_prefix():
    app = build_app(FakeOrganism())
    transport = httpx.ASGITransport(app, root_path="/organism")
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert "url: '/organism/openapi.json'" in (await client.get("/organism/docs")).text
        assert 'spec-url="/organism/openapi.json"' in (await client.get("/organism/redoc")).text


@pytest.mark.parametrize("path", ["/docs/assets/../app.py", "/docs/assets/%2e%2e/core.py", "/docs/assets/", "/docs/x"])
async def test_nothing_else_is_served(client, path):
    assert (await client.get(path)).status_code == 404
