"""Keys beside a running `organism up`, as an operator and an intruder meet them: the tests are steps, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import socketio
from socketio.exceptions import ConnectionError as ConnectionRefused
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.end_to_end.up import Up
from tests.ray.launched import command_of, wait_for, write_organism

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

SOON_S = 20.0
SEEN_WITHIN_S = 3.0
"""Keys are looked at every second; the machine of the tests is slow at times."""

REPLICA_PORTS = range(30_000, 30_100)
NEVER_ISSUED = "org_aaaaaaaaaa_" + 43 * "x"
POLICY_VIOLATION = 1008

Ran = subprocess.CompletedProcess[str]


class Site:
    """An organism that runs, and the keys that were made for it: `keys` by name."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.keys: dict[str, str] = {}
        self.shown: list[str] = []
        """All that has been answered to anybody."""

    @property
    def port(self) -> int:
        return int(self.up.url.rpartition(":")[2])

    def command(self, *words: str, key: str | None = None) -> Ran:
        return run_organism(self.up.folder, *words, ORGANISM_URL=self.up.url, ORGANISM_API_KEY=self.keys.get(key or ""))

    def add(self, name: str, role: str, *options: str) -> None:
        added = self.command("keys", "add", name, "--role", role, *options)
        assert added.returncode == 0, added.stderr
        self.keys[name] = added.stdout.strip()
        assert self.keys[name] not in added.stderr

    def headers(self, name: str | None) -> dict[str, str]:
        return {} if name is None else {"x-api-key": self.keys[name]}

    @contextmanager
    def client(self, name: str | None = None, **headers: str) -> Iterator[httpx.Client]:
        headers = self.headers(name) | {key.replace("_", "-"): value for key, value in headers.items()}
        with httpx.Client(base_url=self.up.url, headers=headers, trust_env=False, timeout=SOON_S) as client:
            client.event_hooks["response"].append(self._note)
            yield client

    def status(self, name: str | None = None, path: str = "/api/v1/agents", **headers: str) -> int:
        with self.client(name, **headers) as client:
            return client.get(path).status_code

    def socket(self, name: str | None = None, port: int | None = None, **options: Any) -> ClientConnection:
        address = f"ws://127.0.0.1:{port or self.port}/ws"
        return connect(address, proxy=None, additional_headers=self.headers(name), open_timeout=SOON_S, **options)

    def session_of(self, name: str | None) -> str:
        with self.client(name) as client:
            answer = client.post("/api/sessions/create", json={})
            assert answer.status_code == 201, answer.text
            return answer.json()["sessionId"]

    def audit(self, *options: str) -> list[dict[str, Any]]:
        ran = self.command("audit", "--json", "--limit", "1000", *options, key="ada")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)["records"]

    def _note(self, response: httpx.Response) -> None:
        if "event-stream" not in response.headers.get("content-type", ""):
            self.shown.append(f"{response.read().decode()}\n{response.headers}")


def run_organism(folder: Path, *words: str, **environment: str | None) -> Ran:
    command = [str(Path(sys.executable).with_name("organism")), *words]
    given = {name: value for name, value in environment.items() if value is not None}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORGANISM_API_KEY")}
    return subprocess.run(
        command, cwd=folder, env={**kept, **given}, capture_output=True, text=True, timeout=60, check=False
    )


class Following:
    """An event stream of a session, read in a thread; `ended` when the server has ended it."""

    def __init__(self, site: Site, name: str | None, session_id: str) -> None:
        self.status = 0
        self.began, self.ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._read, args=(site, name, session_id), daemon=True)
        self._thread.start()
        assert self.began.wait(SOON_S)

    def _read(self, site: Site, name: str | None, session_id: str) -> None:
        url = f"/api/sessions/events/stream?sessionId={session_id}&after=0"
        try:
            with site.client(name) as client, client.stream("GET", url, timeout=120) as answer:
                self.status = answer.status_code
                self.began.set()
                for _ in answer.iter_bytes():
                    pass
        except httpx.TransportError:
            pass
        finally:
            self.began.set()
            self.ended.set()


def ended_with(stream: ClientConnection, within_s: float) -> int | None:
    """The code with which the server closed it."""
    deadline_s = time.monotonic() + within_s
    try:
        while True:
            stream.recv(max(0.1, deadline_s - time.monotonic()))
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def heard(stream: ClientConnection, *kinds: str) -> dict[str, Any]:
    while (event := json.loads(stream.recv(SOON_S))).get("event") not in kinds:
        pass
    return event


@contextmanager
def refused(*, status: int) -> Iterator[None]:
    with pytest.raises(InvalidStatus) as error:
        yield
    assert error.value.response.status_code == status


def socket_io(site: Site, token: str | None, session_id: str) -> dict[str, Any] | None:
    """What a client that joins the session is told; None where it is not let in."""

    async def join() -> dict[str, Any] | None:
        async with aiohttp.ClientSession() as http:
            client = socketio.AsyncClient(reconnection=False, http_session=http)
            try:
                await client.connect(site.up.url, transports=["websocket"], auth={"token": token})
                return await client.call("join-session", session_id, timeout=20)
            except ConnectionRefused:
                return None
            finally:
                await client.disconnect()

    return asyncio.run(join())


def replica_ports(up: Up, deployment: str = "Api") -> list[int]:
    """Where its replicas take requests; other ports of theirs are Ray's."""
    listening = listening_sockets()
    found = []
    for pid in up.pids("ray::ServeReplica", f":{deployment}"):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.append(listening.get(str(link.readlink()), 0))
    return [port for port in found if port in REPLICA_PORTS]


def listening_sockets() -> dict[str, int]:
    """Ports of this machine's IPv4 sockets that listen, by what a process calls them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]": int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    up = Up(write_organism(tmp_path_factory.mktemp("access") / "notes"), "--port", "0")
    try:
        up.wait_ready()
        yield Site(up)
    finally:
        up.end()


INJECT = {"to": "notes", "payload": {"text": "x"}}
EVIL = "https://evil.example"


def test_as_installed_a_web_page_elsewhere_gets_nothing(site):
    """Neither under a name that it has pointed to this machine, nor from its own origin; at no port."""
    for port in (site.port, *replica_ports(site.up)):
        with site.client() as client:
            client.base_url = f"http://127.0.0.1:{port}"
            assert client.get("/api/v1/agents").status_code == 200
            assert client.get("/api/v1/agents", headers={"host": "evil.example"}).status_code == 403
            assert client.post("/api/v1/inject", json=INJECT, headers={"origin": EVIL}).status_code == 403
            assert client.post("/api/v1/inject", json=INJECT, headers={"host": "evil.example"}).status_code == 403
        with refused(status=403):
            site.socket(port=port, origin=EVIL)
        with refused(status=403), socket.create_connection(("127.0.0.1", port)) as rebound:
            connect("ws://evil.example/ws", sock=rebound, proxy=None)


def test_the_first_key_shuts_out_those_who_came_in_without_one(site):
    session_id = site.session_of(None)
    following = Following(site, None, session_id)
    assert following.status == 200
    with site.socket() as stream:
        heard(stream, "connected")
        site.add("ada", "admin")
        wait_for(lambda: site.status() == 401, SEEN_WITHIN_S, "authentication is on")
        assert ended_with(stream, SEEN_WITHIN_S) == POLICY_VIOLATION
    assert following.ended.wait(SEEN_WITHIN_S)
    assert site.status("ada") == 200
    site.add("otto", "operator")
    site.add("olga", "operator")
    site.add("vera", "viewer")
    wait_for(lambda: site.status("vera") == 200, SEEN_WITHIN_S, "the last key is known")
    assert site.status("otto", f"/api/sessions/details?sessionId={session_id}") == 404  # nobody's is the admins'
    assert site.status("ada", f"/api/sessions/details?sessionId={session_id}") == 200


def test_health_stays_open_and_nothing_else(site):
    assert [site.status(path=path) for path in ("/health", "/ready", "/openapi.json", "/docs")] == [200] * 4
    for path in (
        "/api/v1/organism",
        "/api/v1/messages",
        "/api/sessions",
        "/api/v1/keys",
        "/api/v1/audit",
        "/api/v1/me",
    ):
        assert site.status(path=path) == 401, path


def test_a_key_opens_rest_as_a_header_and_never_in_a_url(site):
    key = site.keys["vera"]
    assert site.status(None, "/api/v1/me", authorization=f"Bearer {key}") == 200
    assert site.status(None, "/api/v1/me", x_api_key=key[:-1] + ("x" if key[-1] != "x" else "y")) == 401
    assert site.status(None, "/api/v1/me", x_api_key=NEVER_ISSUED) == 401
    for name in ("token", "key", "api_key", "x-api-key", "access_token"):
        assert site.status(None, f"/api/v1/me?{name}={key}") == 401
    with site.client("vera") as client:
        assert client.post("/api/v1/inject", json=INJECT).status_code == 403
        assert client.post("/api/v1/organism/stop").status_code == 403
    with site.client("otto") as client:
        assert client.post("/api/v1/inject", json=INJECT).is_success
        assert client.post("/api/v1/organism/stop").status_code == 403


def test_a_key_opens_the_command_line(site):
    assert site.command("status").returncode != 0
    assert site.command("status", key="vera").returncode == 0
    assert site.command("pause", "notes", key="vera").returncode != 0
    assert site.command("pause", "notes", key="otto").returncode == 0
    assert site.command("resume", "notes", key="otto").returncode == 0


def test_a_key_opens_a_websocket_by_header_and_by_the_first_message(site):
    with site.socket("otto") as stream:
        assert heard(stream, "connected")["agents"]
    with site.socket() as stream:
        stream.send(json.dumps({"cmd": "auth", "token": site.keys["otto"]}))
        assert heard(stream, "ack", "error")["principal"] == "key:otto"
        assert heard(stream, "connected")["agents"]
    for first in ('{"cmd": "ping"}', "{", json.dumps({"cmd": "auth", "token": NEVER_ISSUED})):
        with site.socket() as stream:
            stream.send(first)
            assert ended_with(stream, SOON_S) == POLICY_VIOLATION


def test_silence_closes_a_websocket_after_five_seconds(site):
    began_s = time.monotonic()
    with site.socket() as stream:
        assert ended_with(stream, SOON_S) == POLICY_VIOLATION
    assert 4.5 < time.monotonic() - began_s < 8.0


def test_a_session_of_another_is_not_there(site):
    session_id = site.session_of("otto")
    for name, status in (("otto", 200), ("ada", 200), ("olga", 404)):
        assert site.status(name, f"/api/sessions/details?sessionId={session_id}") == status
        assert site.status(name, f"/api/sessions/events?sessionId={session_id}") == status
        with site.client(name) as client:
            listed = [each["id"] for each in client.get("/api/sessions").json()["sessions"]]
            assert (session_id in listed) is (status == 200)
        joined = socket_io(site, site.keys[name], session_id)
        assert joined is not None
        assert joined["success"] is (status == 200)
    assert Following(site, "olga", session_id).status == 404
    assert Following(site, "vera", session_id).status == 403
    assert Following(site, None, session_id).status == 401
    for token in (None, NEVER_ISSUED):
        assert socket_io(site, token, session_id) is None


def test_a_web_page_elsewhere_gets_nothing_even_with_a_key(site):
    with site.client("otto", origin=EVIL) as client:
        answer = client.post("/api/v1/inject", json=INJECT)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-origin" not in client.options("/api/v1/inject").headers
    with site.client("otto", origin="null") as client:
        assert client.post("/api/v1/inject", json=INJECT).status_code == 403
    with site.client("otto", origin=site.up.url) as client:
        assert client.post("/api/v1/inject", json=INJECT).is_success
    for port in (site.port, *replica_ports(site.up)):
        with refused(status=403):
            site.socket("otto", port, origin=EVIL)


def test_a_port_of_a_replica_wants_the_key_too(site):
    (port,) = replica_ports(site.up)
    agents = f"http://127.0.0.1:{port}/api/v1/agents"
    with httpx.Client(trust_env=False, timeout=SOON_S) as client:
        assert client.get(agents).status_code == 401
        assert client.get(agents, headers={"x-api-key": NEVER_ISSUED}).status_code == 401
        assert client.get(agents, headers=site.headers("vera")).status_code == 200
    with site.socket(port=port) as stream:
        stream.send('{"cmd": "ping"}')
        assert ended_with(stream, SOON_S) == POLICY_VIOLATION


def test_the_port_of_a_search_replica_serves_nothing(site):
    """It is asked over Ray alone; that Serve opens a port for it cannot be helped."""
    (port,) = wait_for(lambda: replica_ports(site.up, "Search"), SOON_S, "the search replica listens")
    for path in ("/", "/api/v1/librarian/libraries", "/search", "/ask"):
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=SOON_S)
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def actions(site: Site) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for record in site.audit():
        found.setdefault(record["action"], []).append(record)
    return found


def test_the_audit_log_has_it_all(site):
    wait_for(
        lambda: {"inject", "login", "session.create"} <= actions(site).keys(), SOON_S, "what is written in batches"
    )
    found = actions(site)
    assert [each["target"] for each in found["key.add"]] == ["ada", "otto", "olga", "vera"]
    assert {each["who"] for each in found["inject"]} == {"key:vera", "key:otto"}
    assert {(each["who"], each["outcome"]) for each in found["pause"]} == {("key:vera", "refused"), ("key:otto", "ok")}
    assert {each["outcome"] for each in found["stop"]} == {"refused"}
    assert {each["outcome"] for each in found["login"]} == {"refused"}
    assert {"/ws", "/api/v1/me"} <= {each["target"] for each in found["login"]}
    assert {each["address"] for each in found["inject"]} == {"127.0.0.1"}
    assert site.command("audit", key="otto").returncode != 0


@pytest.mark.parametrize("process", ["ray::PumpActor", ":Api"])
def test_keys_and_audit_log_survive_kill_9_and_nobody_gets_in_meanwhile(site, process):
    before = site.audit()
    (killed,) = site.up.pids(process)
    site.up.kill(process)
    answered: set[int] = set()

    def is_back() -> bool:
        with contextlib.suppress(httpx.TransportError):
            answered.add(site.status())
            answered.add(site.status(None, x_api_key=NEVER_ISSUED))
            return site.status("vera") == 200 and killed not in site.up.pids(process) and bool(site.up.pids(process))
        return False

    wait_for(is_back, 3 * SOON_S, f"another {process}")
    assert answered <= {401, 502, 503, 504}
    assert 401 in answered
    wait_for(lambda: site.command("audit", key="ada").returncode == 0, SOON_S, "the audit log is read")
    after = site.audit()
    assert [each["seq"] for each in after] == sorted({each["seq"] for each in after})
    assert after[: len(before)] == before


def test_a_revoked_key_ends_what_it_has_open(site):
    session_id = site.session_of("otto")
    following = Following(site, "otto", session_id)
    with site.socket("otto") as stream, site.socket("vera") as other:
        heard(stream, "connected")
        revoked = site.command("keys", "revoke", "otto")
        assert revoked.returncode == 0, revoked.stderr
        assert ended_with(stream, SEEN_WITHIN_S) == POLICY_VIOLATION
        other.send('{"cmd": "ping"}')
        assert heard(other, "ack")
    assert following.ended.wait(SEEN_WITHIN_S)
    assert site.status("otto") == 401
    assert socket_io(site, site.keys["otto"], session_id) is None
    assert [each["target"] for each in actions(site)["key.revoke"]] == ["otto"]


def ray_logs(up: Up) -> Path:
    """Of this organism's Ray."""
    commands = map(command_of, up.pids("raylet"))
    return Path(next(found[1] for each in commands if (found := re.search(r"--session_dir=(\S+)", each)))) / "logs"


def test_no_key_is_in_any_file_log_or_answer(site):
    with site.client("ada") as client:
        for key in site.keys.values():  # put where they do not belong, to see what comes back
            client.get(f"/api/v1/agents/{key}")
            client.get(f"/api/v1/threads/{key}")
            client.post("/api/v1/inject", json={"to": key, "payload": {}})
            client.get("/api/v1/messages", params={"after": key})
        client.get("/api/v1/keys").raise_for_status()
        client.get("/api/v1/organism/config").raise_for_status()
        client.get("/api/v1/audit").raise_for_status()
    files = [file for folder in (site.up.folder, ray_logs(site.up)) for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".log" for file in files)
    texts = {str(file): file.read_bytes().decode("latin-1") for file in files}
    texts |= {"output": site.up.output, "answers": "\n".join(site.shown)}
    secrets = {name: key.rpartition("_")[2][:20] for name, key in site.keys.items()}
    found = {(where, name) for where, text in texts.items() for name, secret in secrets.items() if secret in text}
    assert found == set()


def test_it_stays_closed_when_the_last_key_is_revoked(site):
    for name in ("olga", "vera", "ada"):
        assert site.command("keys", "revoke", name).returncode == 0
    wait_for(lambda: site.status("ada") == 401, SEEN_WITHIN_S, "the last key is revoked")
    assert site.status() == 401
    site.add("anna", "admin")
    wait_for(lambda: site.status("anna") == 200, SEEN_WITHIN_S, "there is a key again")
    assert site.command("down", key="anna").returncode == 0
    assert site.up.process.wait(SOON_S) == 0


def own_address() -> str | None:
    """An address of this machine that is not loopback's, where it has one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return None


def test_all_interfaces_want_a_key_before_the_start(tmp_path):
    folder = write_organism(tmp_path / "notes")
    refused_start = Up(folder, "--port", "0", "--host", "0.0.0.0")
    assert refused_start.process.wait(SOON_S) == 1
    assert "organism keys add NAME --role admin" in refused_start.output
    assert "Traceback" not in refused_start.output
    added = run_organism(folder, "keys", "add", "ada", "--role", "admin")
    assert added.returncode == 0, added.stderr
    key = added.stdout.strip()
    up = Up(folder, "--port", "0", "--host", "0.0.0.0")
    try:
        up.wait_ready()
        other = own_address()
        address = other or "127.0.0.1"
        url = f"http://{address}:{up.url.rpartition(':')[2]}"
        forged = {"x-forwarded-for": "6.6.6.6"} if other else {}  # a proxy on this machine would be believed
        with httpx.Client(base_url=url, trust_env=False, timeout=SOON_S) as client:
            assert client.get("/api/v1/agents", headers=forged).status_code == 401
            assert client.get("/api/v1/agents", headers={"x-api-key": NEVER_ISSUED, **forged}).status_code == 401
            assert client.get("/api/v1/agents", headers={"x-api-key": key, **forged}).status_code == 200

            def login() -> list[dict[str, Any]]:
                page = client.get("/api/v1/audit", params={"action": "login"}, headers={"x-api-key": key})
                return page.json()["records"]

            (record,) = wait_for(login, SOON_S, "the login that failed is recorded")
            assert record["address"] == address
            assert client.post("/api/v1/organism/stop", headers={"x-api-key": key}).is_success
        assert up.process.wait(SOON_S) == 0
    finally:
        up.end()
