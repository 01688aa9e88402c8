"""Secrets are masked wherever they stand; all else stays as it is."""

import json
import string
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.access.keys import NewKey, issue
from organism.access.principal import Role
from organism.masking import MASK, mask, mask_text

alphanumeric = st.text(string.ascii_letters + string.digits, min_size=24, max_size=40)
secrets = st.one_of(
    alphanumeric.map("sk-{}".format),
    alphanumeric.map("sk-proj-{}".format),
    alphanumeric.map("xai-{}".format),
    alphanumeric.map("ghp_{}".format),
    alphanumeric.map("github_pat_{}".format),
    st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16).map("AKIA{}".format),
    st.tuples(alphanumeric, alphanumeric).map(lambda parts: f"eyJ{parts[0]}.eyJ{parts[1]}.{parts[0]}"),
    alphanumeric.map("Bearer {}".format),
    alphanumeric.map("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----".format),
    alphanumeric.map("-----BEGIN PRIVATE KEY-----\n{}".format),
)
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from(["", "hello", "handlers.hello.Greeting", "a b-c_d"])
)
keys = st.sampled_from(["name", "prompt", "api_key_env", "max_tokens", "description", "a"])


def trees(leaves):
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
    )


def _shape(value):
    if isinstance(value, dict):
        return {key: _shape(each) for key, each in value.items()}
    return [_shape(each) for each in value] if isinstance(value, list) else None


@given(trees(plain | secrets), st.data())
def test_no_secret_is_left_anywhere(value, data):
    secret = data.draw(secrets)
    around = data.draw(st.sampled_from(["{}", "use {} here", "key={}", "({})", '"{}"', "{},{}"]))
    masked = mask({"name": value, "list": [around.format(secret, secret)]})
    text = orjson.dumps(masked).decode()
    assert secret.split()[-1] not in text
    assert orjson.dumps(secret).decode()[1:-1] not in text


@given(trees(plain | secrets))
def test_the_shape_stays(value):
    assert _shape(mask(value)) == _shape(value)


@given(trees(plain | secrets))
def test_masking_twice_changes_nothing_more(value):
    assert mask(mask(value)) == mask(value)


@given(trees(plain))
def test_what_holds_no_secret_stays_as_it_is(value):
    assert mask(value) == value


@given(st.text())
def test_any_text_can_be_masked(text):
    mask({text: text})


@pytest.mark.parametrize(
    "key",
    ["api_key", "apiKey", "API-KEY", "OPENAI_API_KEY", "password", "dbPassword", "client_secret", "access_key_id",
     "authToken", "X-Auth-Token", "Authorization", "private_key", "credentials", "passwd", "pwd", "cookie"],
)  # fmt: skip
def test_what_a_key_calls_secret_is_masked(key):
    assert mask({key: "short"}) == {key: MASK}
    assert mask({key: {"deep": ["short", None]}}) == {key: {"deep": [MASK, None]}}


@pytest.mark.parametrize(
    "value",
    [
        {"api_key_env": "XAI_API_KEY"},
        {"max_tokens": 100, "tokens": 5, "token_count": 7, "max_tokens_per_thread": None},
        {"password": "", "secret": None, "has_password": True},
        {"keyboard": "qwerty", "secretary": "Ann", "tokenizer": "bpe"},
        {"text": "the bearer of this, basic stuff, task-force-of-many, ask-a-question-now"},
        {"base_url": "https://api.x.ai/v1?a=b@c", "mail": "a@b.c", "path": "handlers/hello.py:12"},
    ],
    ids=lambda value: next(iter(value)),
)
def test_what_only_looks_alike_is_not_masked(value):
    assert mask(value) == value


def test_numbers_that_a_key_calls_secret_are_masked_but_not_counts_of_tokens():
    assert mask({"password": 1234, "token": 1234}) == {"password": MASK, "token": 1234}


def test_the_password_in_an_address_is_masked_and_the_address_stays():
    assert mask_text("postgres://me:s3cr:et@db:5432/x") == "postgres://***@db:5432/x"


def test_a_secret_as_a_key_is_masked():
    assert mask({"sk-abcdefghijklmnop": 1}) == {MASK: 1}


cores = st.text(string.ascii_letters + string.digits, max_size=19).map("Q7zR2mN8vK4x{}T5bY9wLd3HsF".format)
"""Their ends are like no text that is drawn beside them."""
names = st.sampled_from(
    ["password", "api_key", "access_token", "refresh_token", "client_secret", "x-api-key", "DB_PASSWORD", "apiKey"]
)
headers = st.sampled_from(["Authorization", "X-API-Key", "Cookie", "Set-Cookie", "Proxy-Authorization", "X-Auth-Token"])
odd = st.text(string.ascii_letters + "'\"\\!?&;,. =/é\n", max_size=5)
"""What a value within quotes may hold beside letters."""


def cased(texts):
    return st.tuples(texts, st.sampled_from([str, str.lower, str.upper, str.title])).map(lambda both: both[1](both[0]))


@st.composite
def told_secrets(draw):
    """The core of a secret, and a text that gives it away as such."""
    core, name, header, around = draw(cores), draw(cased(names)), draw(cased(headers)), (draw(odd), draw(odd))
    value, scheme = core.join(around), draw(st.sampled_from(["", "Bearer ", "basic "]))
    in_url = draw(st.sampled_from(["", "-", "%20", ".", "~", "/", ")"])).join((core[:12], core[12:]))
    shapes = [
        f"{header}: {core}" if "api" in header.lower() or "token" in header.lower() else f"{header}: {scheme}{core}",
        f"{header}:{core}",
        f"Cookie: theme=dark; session={core}; lang=en",
        f"GET /ws?{name}={in_url}&limit=1 HTTP/1.1",
        f"wss://host/ws?since=0&{name}={in_url}",
        f"{name}={core}",
        f"connect(host='db', {name}={value!r}, port=5432)",
        repr({"host": "db", name: value, "port": 5432}),
        repr({name: [value]}),
        repr([("host", "x"), (header.lower(), value)]),
        repr([(b"host", b"x"), (header.lower().encode(), value.encode()), (b"accept", b"*/*")]),
        repr(f"GET / HTTP/1.1\r\n{header}: {core}\r\nHost: x\r\n".encode()),
        json.dumps({"a": {name: value}, "b": 1}),
        json.dumps({"body": json.dumps({"a": {name: value}, "b": 1})}),
        json.dumps({"c": json.dumps({"body": json.dumps({name: value})})}),
        f"postgresql://me:{in_url}@db:5432/x",
        f"https://{core}@github.com/a/b.git",
        f"https://me:{core}@github.com/a/b.git",
        f"-----BEGIN EC PRIVATE KEY-----\n{core}\n{core[::-1]}\n-----END EC PRIVATE KEY-----",
        f"eyJhbGciOiJIUzI1NiJ9.{core}.{core}",
        f"org_abcdefghjk_{core}",
    ]
    return (in_url if in_url in (shape := draw(st.sampled_from(shapes))) else core), shape


@given(told_secrets(), st.text(max_size=50), st.text(max_size=50), st.sampled_from([" ", "\n", ", ", "; "]))
def test_a_secret_that_a_text_tells_is_not_in_the_masked_one(told, before, after, separator):
    secret, shape = told
    masked = mask_text(f"{before}{separator}{shape}{separator}{after}")
    assert secret not in masked
    assert all(part not in masked for part in (secret[:12], secret[-12:]))
    assert mask_text(masked) == masked


@given(st.integers(0, 10_000), st.text(max_size=30), st.text(max_size=30))
def test_our_own_keys_are_masked_also_in_the_middle_of_a_word(cut_off, before, after):
    key = issue(NewKey("a", Role.VIEWER), 0).text
    _, _, secret = key.split("_", 2)
    assert secret not in mask_text(before + key + after)
    shown = secret[: 8 + cut_off % 35]
    assert shown not in mask_text(f"{before} {key[: len(key) - len(secret)]}{shown} {after}")


words = st.sampled_from(
    ["the", "token", "password", "authorization", "cookie", "secret", "a bearer of news", "basic understanding",
     "api key", "is", "missing", "`X-API-Key`", "12", "(see README.md)", "handlers/hello.py:12", "thread",
     "max_tokens=5", "a@b.c", "if token == expected", "http://127.0.0.1:8000/api/v1/agents", "PWD=/home/me",
     "Unexpected token: '}'", "api_key_env=XAI_API_KEY", "password=None", "org_hello", "['password', 'email']"]
)  # fmt: skip


@given(st.lists(words, max_size=12), st.sampled_from([" ", ", ", "\n"]))
def test_talk_of_secrets_is_not_masked(sentence, separator):
    assert mask_text(separator.join(sentence)) == separator.join(sentence)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("{'x-api-key': 'a', 'b': 1}", "{'x-api-key': '***', 'b': 1}"),
        ("(b'cookie', b'a=b'), (b'host', b'x')", "(b'cookie', b'***'), (b'host', b'x')"),
        ("login(password='x y', port=1, api_key=abc)", "login(password='***', port=1, api_key=***)"),
        ("GET /ws?token=abc&since=1 HTTP/1.1", "GET /ws?token=***&since=1 HTTP/1.1"),
        ("Authorization: Bearer abc\nHost: x", "Authorization: ***\nHost: x"),
        ('"{\\"secret\\": \\"a\\\\\\"b\\", \\"c\\": 1}"', '"{\\"secret\\": \\"***\\", \\"c\\": 1}"'),
        ("https://token@github.com/a/b.git", "https://***@github.com/a/b.git"),
    ],
)
def test_what_stands_around_a_secret_stays(text, masked):
    assert mask_text(text) == masked


def test_how_a_header_looks_may_be_told():
    text = "send a key as `X-API-Key` or a token as `Authorization: Bearer`; `organism keys add` makes one"
    assert mask_text(text) == text


UNITS = (
    "password=", "password=,;", "'token': ", "token='", "token=\\'", 'token=\\"\\\\\\', "Authorization: ",
    'cookie:="', "authorization \t", "x-api-key: ", "(b'cookie'   ", "(b'cookie',", "://", "://a:", "://a:b@",
    "https://a", "org_abcdefghjk_", "eyJ", "eyJaaaa.", "sk-", "Bearer ", "Basic aaaaaaaaaaaaaaaaaaaaaaaa",
    "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ", "[", "\\", "a",
)  # fmt: skip


@pytest.mark.parametrize("beginning", ["", "password='", 'token=\\"', "Authorization: ", "https://", "-----BEGIN "])
def test_long_texts_take_linear_time(beginning):
    for unit in UNITS:
        short_s, long_s = (_seconds(beginning + unit * (size // len(unit))) for size in (10_000, 100_000))
        assert long_s < 50 * short_s + 0.1, unit  # a hundred times, were it quadratic


def _seconds(text):
    start_s = time.process_time()
    mask_text(text)
    return time.process_time() - start_s
