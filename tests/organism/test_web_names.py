from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.web_names import host_of, is_loopback, is_safe_to_trust, origin_of


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.org", "https://app.example.org"),
        ("https://app.example.org/", "https://app.example.org"),
        ("HTTPS://App.Example.org:443/a?b#c", "https://app.example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://[0:0:0::1]:3000", "http://[::1]:3000"),
        ("app.example.org", "https://app.example.org"),
        ("localhost:3000", "https://localhost:3000"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://app.example.org.", "https://app.example.org"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop/page.html", "chrome-extension://abcdefghijklmnop"),
    ],
)
def test_an_origin_is_told_as_browsers_send_it(text: str, origin: str) -> None:
    assert origin_of(text) == origin


@pytest.mark.parametrize(
    "text",
    ["", "*", "https://", "https://*.example.org", "file:///x", "wss://example.org", "https://ann:secret@example.org",
     "https://example.org:99999", "http://[", "http://a b", "http://10.0.0", "https://a..b", "https://❤.example"],
)  # fmt: skip
def test_no_origin_is_made_up(text: str) -> None:
    assert origin_of(text) is None


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.org", "example.org"),
        ("example.org:8000", "example.org"),
        ("https://example.org/x", "example.org"),
        ("example.org.", "example.org"),
        ("*.Example.org", "*.example.org"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("192.0.2.7:80", "192.0.2.7"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8:0::1", "2001:db8::1"),
        ("under_score", "under_score"),
    ],
)
def test_a_host_is_told_as_it_is_compared(text: str, host: str) -> None:
    assert host_of(text) == host


@pytest.mark.parametrize(
    "text", ["", "*", "*.", "http://", "*.*.x", "x*", "*.10.0.0.1", "*.::1", ".a", "a,b", "a b", "u@h", "fe80::1%eth0"]
)
def test_no_host_is_made_up(text: str) -> None:
    assert host_of(text) is None


@given(st.text(st.characters(max_codepoint=0x2FF)) | st.from_regex(r"\A(https?://)?(\*\.)?[\[\]a-z0-9:.@%/-]*\Z"))
def test_whatever_is_asked_what_is_told_stays_the_same(text: str) -> None:
    for told in (origin_of, host_of):
        if (right := told(text)) is not None:
            assert right.isascii()
            assert told(right) == right


@pytest.mark.parametrize("name", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LocalHost"])
def test_loopback_has_many_names(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["", "0.0.0.0", "::", "192.0.2.7", "*.localhost", "localhost.example.org", "127.0.0"])
def test_other_names_are_not_loopback(name: str) -> None:
    assert not is_loopback(name)


@pytest.mark.parametrize("url", ["https://login.example.org/keys", "http://localhost:8080/x", "http://[::1]/x"])
def test_https_and_loopback_are_safe(url: str) -> None:
    assert is_safe_to_trust(url)


@pytest.mark.parametrize("url", ["", "http://example.org", "ftp://localhost", "https://", "http://[", "https://a:b/"])
def test_other_urls_are_not_safe(url: str) -> None:
    assert not is_safe_to_trust(url)
