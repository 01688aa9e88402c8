import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from organism.config import FetchUrl as FetchUrlSection
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.fetch_url import FetchUrl
from organism.sessions.tools.html_text import html_text
from organism.sessions.tools.public_addresses import AllowedHosts, is_public, literal
from organism.sessions.workspace import Workspace

CONTEXT = ToolContext("s", Workspace(Path("/nowhere")))
PUBLIC = "93.184.215.14"


class Site(BaseHTTPRequestHandler):
    """Answers by path; `/to?<url>` redirects there."""

    asked: list[str]
    stopping: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path, _, query = self.path.partition("?")
        if path == "/to":
            self.answer(302, b"", location=query)
        elif path == "/page":
            self.answer(200, b"<p>Hello <b>you</b></p><script>x</script>", content_type="text/html; charset=utf-8")
        elif path == "/image":
            self.answer(200, b"\x89PNG", content_type="image/png")
        elif path == "/gzip":
            self.answer(200, b"x", content_encoding="gzip")
        elif path == "/big":
            self.answer(200, b"x" * 2000)
        elif path == "/slow":
            self.stopping.wait(20)
        elif path == "/gone":
            self.answer(404, b"not here")
        else:
            self.answer(200, b"plain")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_type": "text/plain", "content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site():
    handler = type("ThisSite", (Site,), {"asked": [], "stopping": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    handler.stopping.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def origin(site) -> str:
    return f"127.0.0.1:{site.server_port}"


def tool(*hosts: str, resolved: list[str] | None = None, **limits) -> FetchUrl:
    async def resolver(host: str, port: int) -> list[str]:
        if resolved is None:
            raise OSError("no such host")
        return resolved

    return FetchUrl(FetchUrlSection(allow_hosts=hosts, **limits), resolver)


async def fetch(fetching: FetchUrl, url: str) -> str:
    return await fetching.call({"url": url}, CONTEXT)


async def test_pages_come_as_text_and_redirects_are_followed(origin):
    fetching = tool(origin)
    assert await fetch(fetching, f"http://{origin}/page") == "Hello you"
    assert await fetch(fetching, f"http://{origin}/to?/plain") == "plain"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("image", "image/png"), ("gzip", "compressed"), ("big", "larger than 1000"), ("gone", "404: not here"),
     ("slow", "within")],
)  # fmt: skip
async def test_what_cannot_be_shown_says_why(origin, path, reason):
    with pytest.raises(ToolFailed, match=reason):
        await fetch(tool(origin, max_bytes=1000, timeout_s=1.0), f"http://{origin}/{path}")


async def test_redirects_without_end_are_given_up(origin):
    loop = f"http://{origin}/to?"
    with pytest.raises(ToolFailed, match="more than 5 times"):
        await fetch(tool(origin), loop + loop + loop + loop + loop + loop + loop)


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:1/", "http://169.254.169.254/latest", "http://[::1]/", "http://inner.example/", "file:///etc/passwd",
     "//10.0.0.1/", "http://0x7f000001/", "gopher://x/"],
)  # fmt: skip
async def test_redirects_are_checked_like_the_first_url(origin, target, site):
    with pytest.raises(ToolFailed):
        await fetch(tool(origin, "inner.example", resolved=["10.0.0.1"]), f"http://{origin}/to?{target}")
    assert len(site.RequestHandlerClass.asked) == 1


INNER = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
    "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:127.0.0.1",
    "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2001:0:7f00:1::", "2001:db8::1", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INNER)
async def test_names_that_lead_to_inner_addresses_are_refused(address):
    parsed = literal(address)
    assert parsed is not None
    assert not is_public(parsed)
    for resolved in ([address], [PUBLIC, address]):
        with pytest.raises(ToolFailed, match="not public"):
            await fetch(tool("a.example", resolved=resolved), "http://a.example/")


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_public(address):
    parsed = literal(address)
    assert parsed is not None
    assert is_public(parsed)


@pytest.mark.parametrize("address", INNER)
async def test_inner_addresses_are_refused_unless_listed_as_themselves(address):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ToolFailed, match="not allowed"):
        await fetch(tool("*.example", "a.example"), f"http://{host}/")


ODD = [
    "http://2130706433/", "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://0x7f000001/", "http://127.1/", "http://127.0.1/",
    "http://localhost/", "http://LOCALHOST./", "http://a.example./", "http://user@a.example/", "http://u:p@a.example/",
    "http://a.example@127.0.0.1/", "http://127.0.0.1#@a.example/", "http://127.0.0.1\\@a.example/", "http://ⓐ.example/",
    "http://a。example/", "http://b.example/", "http://xa.example/", "http://a.example.evil/", "http://a.example:22/",
    "http://a.example:8080/", "ftp://a.example/", "file:///etc/passwd", "javascript:1", "a.example", "", "http://", "http:///x",
    "http://[::1%25lo]/", "http://[fe80::1%25eth0]/", "http://a.example\r\nHost: x/", "http://127.0.0.1%2f@a.example/",
    "http://a..example/", "http://-a.example/", "http://" + "a" * 5000, "http://a.example:99999/", "http://[", "http://1.2.3.4.5/",
]  # fmt: skip


@pytest.mark.parametrize("url", ODD, ids=lambda url: ascii(url)[:40])
async def test_odd_urls_are_refused(url):
    with pytest.raises(ToolFailed):
        await fetch(tool("a.example", "a.example.", resolved=["127.0.0.1"]), url)


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch, site):
    """Only the first answer of the resolver counts, and the host's name stays in the request."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr("organism.sessions.tools.pinned_transport.is_public", lambda address: True)
    section = FetchUrlSection(allow_hosts=(f"a.example:{site.server_port}",))
    text = await FetchUrl(section, resolver).call({"url": f"http://a.example:{site.server_port}/plain"}, CONTEXT)
    assert (text, asked) == ("plain", ["a.example"])


async def test_an_unknown_host_is_told():
    with pytest.raises(ToolFailed, match="not known"):
        await fetch(tool("a.example"), "http://a.example/")


async def test_proxies_of_the_environment_are_not_used(origin, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert await fetch(tool(origin), f"http://{origin}/") == "plain"


async def test_cancelling_ends_the_request(origin, site):
    fetching = asyncio.create_task(fetch(tool(origin), f"http://{origin}/slow"))
    async with asyncio.timeout(10):
        while not site.RequestHandlerClass.asked:  # noqa: ASYNC110 the server is in a thread
            await asyncio.sleep(0.01)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching


@pytest.mark.parametrize(
    ("entry", "scheme", "host", "port", "allowed"),
    [
        ("a.example", "https", "a.example", None, True),
        ("A.Example", "http", "a.example", 80, True),
        ("a.example", "https", "a.example", 80, False),
        ("a.example:8080", "http", "a.example", 8080, True),
        ("a.example:8080", "http", "a.example", None, False),
        ("*.example", "https", "a.b.example", None, True),
        ("*.example", "https", "example", None, False),
        ("*.example", "https", "aexample", None, False),
        ("*.0.0.1", "http", "127.0.0.1", None, False),
        ("::1", "http", "::1", None, True),
        ("[::1]:8080", "http", "::1", 8080, True),
        ("10.0.0.5", "http", "10.0.0.5", None, True),
    ],
)
def test_entries_of_allow_hosts(entry, scheme, host, port, allowed):
    assert (AllowedHosts((entry,)).why_not(scheme, host, port) is None) == allowed


def test_html_is_reduced_to_its_text():
    html = "<html><style>p{}</style><h1>A&amp;B</h1>\n<p>one\n two</p><script>if (1<2) x()</script><div>three</div>"
    assert html_text(html) == "A&B\none two\nthree"
