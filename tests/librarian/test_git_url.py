from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.config import SourceRules
from librarian.errors import InvalidRequest, LibrarianError, SourceRefused, SourceUnavailable
from librarian.git_url import check_branch, is_public, parse_git_url, public_addresses, without_credentials

NETWORK = SourceRules(local=False)
LOCAL = SourceRules(local=True)


@pytest.mark.parametrize(
    "git_url",
    [
        "ext::sh -c whoami",
        "ext::whoami",
        "git://example.org/a/b",
        "http://example.org/a/b",
        "ftp://example.org/a/b",
        "javascript://example.org/a",
        "--upload-pack=whoami",
        "-u",
        "https:///example.org/a",
        "https://-oProxyCommand=whoami/a",
        "ssh://-oProxyCommand=whoami/a",
        "-oProxyCommand=whoami:a",
        "git@-oProxyCommand=whoami:a",
        "git@example.org:-a",
        "ssh://-x@example.org/a",
        "https://user@example.org/a",
        "https://user:secret@example.org/a",
        "ssh://git:secret@example.org/a",
        "https://example.org:8443/a",
        "https://example.org:99999/a",
        "https://example.org:ssh/a",
        "ssh://example.org:2222/a",
        "https://example.org",
        "https://example.org/",
        "https://example.org/a?b",
        "https://example.org/a#b",
        "https://example.org/a b",
        "https://example.org/a\nb",
        "https://example.org\\@evil.example/a",
        "https://[::1/a",
        "file://host/path",
        "file:///etc",
        "/etc",
        "relative/path",
        "~/repository",
        "",
        "x" * 3000,
    ],
)
def test_what_could_make_git_do_more_than_read_a_public_repository_is_refused(git_url: str):
    with pytest.raises((SourceRefused, InvalidRequest)) as caught:
        parse_git_url(git_url, NETWORK)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("git_url", "url", "host", "port"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b.git", "example.org", 443),
        ("https://Example.ORG:443/a/b/", "https://example.org/a/b", "example.org", 443),
        ("HTTPS://example.org/a", "https://example.org/a", "example.org", 443),
        ("https://[2606:4700::1]/a", "https://[2606:4700::1]/a", "2606:4700::1", 443),
        ("ssh://git@example.org/a/b", "ssh://git@example.org/a/b", "example.org", 22),
        ("git@Example.org:a/b.git", "git@example.org:a/b.git", "example.org", 22),
    ],
)
def test_urls_of_the_network_become_canonical(git_url: str, url: str, host: str, port: int):
    parsed = parse_git_url(git_url, NETWORK)
    assert (parsed.url, parsed.host, parsed.port) == (url, host, port)


def test_a_host_named_by_the_operator_may_have_another_port():
    rules = SourceRules(local=False, private_hosts=("Git.Internal",))
    assert parse_git_url("https://git.internal:8443/a", rules).url == "https://git.internal:8443/a"


def test_a_path_and_its_file_url_are_the_same_repository(tmp_path: Path):
    folder = tmp_path / "a repository"
    (folder / ".git").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    spellings = [str(folder), f"{folder}/.git", str(tmp_path / "link"), f"{folder}/../a repository/"]
    urls = {parse_git_url(spelling, LOCAL).url for spelling in [*spellings, f"file://{tmp_path}/a%20repository"]}
    assert urls == {f"file://{tmp_path.resolve()}/a%20repository"}


def test_a_path_that_is_not_there_or_no_folder_is_unavailable(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(SourceUnavailable):
            parse_git_url(str(path), LOCAL)


@pytest.mark.parametrize("branch", ["main", "feature/a-b", "v1.0", "größe", "a@b", "x--y"])
def test_names_that_branches_have_are_accepted(branch: str):
    check_branch(branch)


@pytest.mark.parametrize(
    "branch",
    [
        "", "-x", "--upload-pack=whoami", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a\nb", "a\x7f",
        "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "@", "a@{1}", "HEAD", "x" * 300, "\ud800",
    ],
)  # fmt: skip
def test_names_that_no_branch_can_have_are_refused(branch: str):
    with pytest.raises(InvalidRequest):
        check_branch(branch)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "fd00:ec2::254",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    ],
)  # fmt: skip
def test_addresses_inside_a_network_are_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["140.82.121.3", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_public(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::1]", "169.254.169.254"]
)
async def test_a_host_with_a_private_address_is_refused_however_it_is_spelled(host: str):
    url = parse_git_url(f"https://{host}/a", NETWORK)
    with pytest.raises(SourceRefused, match="not public"):
        await public_addresses(url, NETWORK)


async def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch):
    _resolve_to(monkeypatch, "1.1.1.1", "10.0.0.1")
    with pytest.raises(SourceRefused, match=r"10\.0\.0\.1"):
        await public_addresses(parse_git_url("https://example.org/a", NETWORK), NETWORK)


async def test_all_public_addresses_are_given_to_pin_and_none_for_hosts_that_may_be_private(
    monkeypatch: pytest.MonkeyPatch,
):
    _resolve_to(monkeypatch, "1.1.1.1", "1.1.1.1", "2606:4700::1")
    url = parse_git_url("https://example.org/a", NETWORK)
    assert await public_addresses(url, NETWORK) == ("1.1.1.1", "2606:4700::1")
    assert await public_addresses(url, SourceRules(local=False, private_hosts=("example.org",))) == ()


async def test_a_host_without_an_address_is_unavailable():
    with pytest.raises(SourceUnavailable, match="no address"):
        await public_addresses(parse_git_url("https://nothing.invalid/a", NETWORK), NETWORK)


def test_credentials_are_taken_out_of_what_is_shown():
    assert without_credentials("see https://user:to@ken@example.org/a") == "see https://example.org/a"


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_with_an_error_of_ours(text: str):
    for prefix in ("", "https://", "ssh://", "git@"):
        try:
            parsed = parse_git_url(prefix + text, NETWORK)
        except LibrarianError:
            continue
        assert not parsed.url.startswith("-")
        assert parsed.scheme in ("https", "ssh")
        assert parsed.host


def _resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(0, 0, 0, "", (address, 443)) for address in addresses]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_arguments, **_named: found)
