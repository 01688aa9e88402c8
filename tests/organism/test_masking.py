"""Secrets are masked wherever they stand; all else stays as it is."""

import string

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
plain = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "hello", "handlers.hello.Greeting", "a b-c_d"])
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


def test_long_texts_take_linear_time():
    for text in ("://" + ":" * 500_000, "-----BEGIN " * 20_000, "sk-" * 200_000, "eyJ" * 200_000, "Bearer " * 100_000):
        mask_text(text)
