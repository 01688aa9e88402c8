"""The files of a session over REST: what is shown, and that no path leads out."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import client_of

from organism.sessions.records import NewSession

FILES, SEARCH, VALIDATE = (f"/api/sessions/workspace/{each}" for each in ("files", "search", "validate"))


@pytest.fixture
async def workspace(organism, sessions, tmp_path: Path):
    async with sessions, client_of(organism, sessions) as client:
        session = await sessions.create(NewSession())
        root = tmp_path / session.working_directory
        (root / "sub").mkdir(parents=True)
        (root / "a.txt").write_text("hello")
        (root / "sub" / "b.txt").write_text("x")
        (tmp_path / "secret.txt").write_text("secret")
        (root / "link").symlink_to(tmp_path / "secret.txt")
        yield client, session.id


async def test_a_file_is_described(workspace):
    client, session_id = workspace
    body = (await client.get(FILES, params={"sessionId": session_id, "path": "a.txt"})).json()
    assert body.pop("modified") > 1_700_000_000_000
    assert body == {"type": "file", "name": "a.txt", "size": 5, "path": "a.txt"}


@pytest.mark.parametrize("path", ["a.txt", "."])
async def test_no_browser_shows_it_as_a_page_of_this_server(workspace, path):
    client, session_id = workspace
    headers = (await client.get(FILES, params={"sessionId": session_id, "path": path})).headers
    assert headers["content-disposition"] == "attachment"
    assert headers.get_list("content-security-policy") == ["sandbox; default-src 'none'"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("params", [{}, {"path": ""}, {"path": "."}])
async def test_a_directory_is_listed_folders_first(workspace, params):
    client, session_id = workspace
    body = (await client.get(FILES, params={"sessionId": session_id, **params})).json()
    assert (body["type"], body["path"]) == ("directory", ".")
    assert [each["name"] for each in body["files"]][:2] == ["sub", "a.txt"]


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "link", "sub/../../secret.txt", "a\0b"])
async def test_no_path_leads_out(workspace, path):
    client, session_id = workspace
    answer = await client.get(FILES, params={"sessionId": session_id, "path": path})
    assert answer.status_code in (400, 404)
    assert isinstance(answer.json()["error"], str)
    results = (await client.post(VALIDATE, json={"sessionId": session_id, "paths": [path]})).json()["results"]
    assert results[0]["exists"] is False


async def test_a_file_that_is_not_there_is_404(workspace):
    client, session_id = workspace
    assert (await client.get(FILES, params={"sessionId": session_id, "path": "none"})).status_code == 404


async def test_files_are_found_by_a_part_of_their_path(workspace):
    client, session_id = workspace
    items = (await client.get(SEARCH, params={"sessionId": session_id, "q": "b.t"})).json()["items"]
    assert items == [{"name": "b.txt", "path": "sub/b.txt", "type": "file", "relativePath": "sub/b.txt"}]
