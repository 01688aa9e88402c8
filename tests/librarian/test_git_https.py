"""The same over a real https server: credentials, redirects, pinned addresses, slow and broken connections."""

import asyncio
import base64
import os
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from librarian.config import GitCredential, IngestLimits, SourceRules
from librarian.errors import SourceRefused, SourceUnavailable
from librarian.git_process import run_git, source_environment
from librarian.git_source import Repository, fetch, read_blobs, resolve
from librarian.git_url import GitUrl
from librarian.values import Skipped
from tests.librarian.git_https_server import GitHttpsServer, git_https_server
from tests.librarian.git_repositories import commit_files, empty_repository, git

RULES = SourceRules(local=False, private_hosts=("localhost",))
SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    origin = empty_repository(tmp_path / "root" / "a" / "b.git")
    commit_files(origin, {"a.py": b"print(1)\n"})
    return origin


@pytest.fixture
def server(tmp_path: Path, origin: Path) -> Iterator[GitHttpsServer]:
    with git_https_server(origin.parents[1], tmp_path) as server:
        yield server


@pytest.fixture
def environ(server: GitHttpsServer) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "GIT_SSL_CAINFO": str(server.certificate), "TOKEN": SECRET}


async def fetched(
    git_url: str, environ: Mapping[str, str], folder: Path, rules: SourceRules = RULES
) -> tuple[Repository, list[bytes]]:
    async with fetch(git_url, None, rules, environ, folder / "clones") as repository:
        read = read_blobs(repository.folder, [entry.blob_id for entry in repository.entries])
        return repository, [data for _, data in read]


async def test_a_repository_is_read_over_https(server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path):
    repository, read = await fetched(server.url("a/b.git"), environ, tmp_path)
    assert repository.url == server.url("a/b.git")
    assert read == [b"print(1)\n"]
    assert (await resolve(server.url("a/b.git"), None, RULES, environ)).commit == repository.commit


async def test_large_files_are_left_out_where_the_server_can_filter_and_skipped_where_it_cannot(
    server: GitHttpsServer, environ: Mapping[str, str], origin: Path, tmp_path: Path
):
    commit_files(origin, {"large": os.urandom(20_000), "small": b"1"})
    rules = SourceRules(local=False, private_hosts=("localhost",), limits=IngestLimits(max_file_bytes=10_000))
    for can_filter in ("true", "false"):
        git(origin, "config", "uploadpack.allowFilter", can_filter)
        repository, read = await fetched(server.url("a/b.git"), environ, tmp_path, rules)
        assert read == [b"1"]
        assert repository.skipped == [Skipped("large", "too_large")]


async def test_an_untrusted_certificate_is_refused(server: GitHttpsServer, tmp_path: Path):
    with pytest.raises(SourceUnavailable, match="certificate of host localhost is not trusted"):
        await fetched(server.url("a/b.git"), {"PATH": os.environ["PATH"]}, tmp_path)


async def test_a_repository_that_is_not_there_is_unavailable(
    server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path
):
    with pytest.raises(SourceUnavailable, match="no such repository"):
        await fetched(server.url("a/nothing.git"), environ, tmp_path)


async def test_a_token_of_the_environment_is_sent_to_its_host_and_shown_nowhere(
    server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path
):
    server.intercept = _needs_a_token
    rules = SourceRules(local=False, private_hosts=("localhost",), credentials=(GitCredential("localhost", "TOKEN"),))
    repository, read = await fetched(server.url("a/b.git"), environ, tmp_path, rules)
    assert read == [b"print(1)\n"]
    assert SECRET not in repository.url
    basic = base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()
    assert {authorization for _, _, authorization in server.requests} == {f"Basic {basic}"}
    with pytest.raises(SourceUnavailable) as caught:
        await fetched(server.url("a/nothing.git"), environ, tmp_path, rules)
    assert SECRET not in str(caught.value)
    assert basic not in str(caught.value)


async def test_without_a_token_the_error_says_where_to_configure_one(
    server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path
):
    server.intercept = _needs_a_token
    with pytest.raises(SourceUnavailable, match=r"access denied.*librarian\.credentials for host localhost"):
        await fetched(server.url("a/b.git"), environ, tmp_path)


async def test_a_token_that_is_not_set_is_named_by_its_variable(
    server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path
):
    rules = SourceRules(local=False, private_hosts=("localhost",), credentials=(GitCredential("localhost", "UNSET"),))
    with pytest.raises(SourceRefused, match="environment variable UNSET"):
        await fetched(server.url("a/b.git"), environ, tmp_path, rules)


async def test_redirects_are_not_followed(server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path):
    server.intercept = _redirects_to(server.url("a/b.git/info/refs?service=git-upload-pack"))
    with pytest.raises(SourceUnavailable, match="redirects"):
        await fetched(server.url("moved.git"), environ, tmp_path)
    assert {path.partition("?")[0] for _, path, _ in server.requests} == {"/moved.git/info/refs"}


async def test_git_connects_to_the_addresses_that_were_checked_and_to_no_others(
    server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path
):
    url = GitUrl(f"https://pinned.example:{server.port}/a/b.git", "https", "pinned.example", server.port)
    environment = source_environment(url, ["127.0.0.1"], RULES, environ, tmp_path)
    output = await run_git(["ls-remote", "--", url.url], environment, folder=tmp_path, limits=IngestLimits())
    assert output.returncode == 0
    assert b"refs/heads/main" in output.stdout


async def test_a_connection_that_breaks_while_the_repository_is_copied_is_unavailable(
    server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path
):
    server.intercept = _breaks_off
    with pytest.raises(SourceUnavailable):
        await fetched(server.url("a/b.git"), environ, tmp_path)
    assert _names(tmp_path / "clones") == []


async def test_a_server_that_stops_answering_is_given_up_after_the_time_limit(
    server: GitHttpsServer, environ: Mapping[str, str], tmp_path: Path
):
    released = threading.Event()
    server.intercept = lambda request: request.command == "POST" and released.wait(60)
    rules = SourceRules(local=False, private_hosts=("localhost",), limits=IngestLimits(fetch_timeout_s=1.0))
    try:
        async with asyncio.timeout(10):
            with pytest.raises(SourceUnavailable, match="longer than 1 s"):
                await fetched(server.url("a/b.git"), environ, tmp_path, rules)
    finally:
        released.set()
    assert _names(tmp_path / "clones") == []


async def test_a_host_that_does_not_answer_is_unavailable(environ: Mapping[str, str], tmp_path: Path):
    with pytest.raises(SourceUnavailable, match="does not answer"):
        await fetched("https://localhost:1/a", environ, tmp_path)


def _needs_a_token(request: BaseHTTPRequestHandler) -> bool:
    if request.headers.get("Authorization"):
        return False
    request.send_response(401)
    request.send_header("WWW-Authenticate", 'Basic realm="git"')
    request.send_header("Content-Length", "0")
    request.end_headers()
    return True


def _redirects_to(location: str):
    def intercept(request: BaseHTTPRequestHandler) -> bool:
        if not request.path.startswith("/moved.git"):
            return False
        request.send_response(301)
        request.send_header("Location", location)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return intercept


def _breaks_off(request: BaseHTTPRequestHandler) -> bool:
    if request.command == "GET":
        return False
    request.send_response(200)
    request.send_header("Content-Type", "application/x-git-upload-pack-result")
    request.send_header("Content-Length", "100000")
    request.end_headers()
    request.wfile.write(b"000dpackfile\n")
    return True


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
