"""Secrets never get into a library; source that only speaks of them stays as it is.

The secrets here are made up, and put together at run time, so that no scanner takes this file for a leak.
"""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.secrets import mask_secrets

RANDOM = "q7Zr2Lx9Kd4Tn8Vb3Wm6Hs1Yc5Fg0Jp7Qa2Ue9Xi4Ro8Bt3Nz"
BODY = "\n".join(["MIIEpAIBAAKCAQEA" + RANDOM[:48]] * 3 + ["q7Zr2L=="])
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJ{RANDOM[:20]}.{RANDOM[:43]}"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key = 'AKIA{}'", "IOSFODNN7EXAMPLE"),
        ("aws_secret_access_key = {}", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ('SecretAccessKey: "{}"', RANDOM[:40]),
        ("https://api.example.com/?t=ghp_{}", RANDOM[:36]),
        ("github_pat_{}", RANDOM[:40]),
        ("glpat-{}", RANDOM[:20]),
        ("slack('xoxb-{}')", f"123456789012-{RANDOM[:24]}"),
        ("sk_live_{}", RANDOM[:24]),
        ("AIza{}", RANDOM[:35]),
        ("sk-ant-{}", f"api03-{RANDOM}"),
        ("OPENAI=sk-{}", RANDOM[:48]),
        ("sk-{}", f"proj-{RANDOM}"),
        ("//registry/:_authToken=npm_{}", RANDOM[:36]),
        ("pypi-AgE{}", RANDOM),
        ("eyJ{}", JWT[3:]),
        ("url = 'postgres://admin:{}@db.internal:5432/app'", "hunter2"),
        ('api_key = "{}"', RANDOM[:32]),
        ('  "clientSecret": "{}",', RANDOM[:32]),
        ("const API_KEY: &str = \"{}\";", RANDOM[:32]),
        ("token := `{}`", RANDOM[:32]),
        ("String password = \"{}\";", "Tr0ub4dor&3"),
        ("Authorization: Bearer {}", RANDOM[:40]),
        ('secrets["api_key"] = "{}"', "9f86d081884c7d659a2feaa0c55ad015"),
    ],
)  # fmt: skip
def test_the_secret_part_is_masked_and_nothing_else(text, secret):
    masked, count = mask_secrets("a.py", text.format(secret).encode())
    assert (masked.decode(), count) == (text.format("*" * len(secret)), 1)


@pytest.mark.parametrize("path", ["deploy.yml", "conf/app.properties", ".env.example", "Dockerfile"])
def test_values_need_no_quotes_in_files_of_settings(path):
    masked, count = mask_secrets(path, f"API_KEY={RANDOM[:32]}\nNAME: x\n".encode())
    assert (masked, count) == (b"API_KEY=" + b"*" * 32 + b"\nNAME: x\n", 1)


@pytest.mark.parametrize(
    "text",
    [
        "password = get_password()",
        "password: str = 'password'",
        'token = os.environ["GITHUB_TOKEN_OF_THE_BUILD_SERVER_2"]',
        'secret_name = "projects/one/secrets/database-password-v2"',
        'API_KEY = "your-api-key-goes-here-1234"',
        'apiKey: "${process.env.API_KEY_2}"',
        'TOKEN_URL = "https://auth.example.com/oauth2/token"',
        "http://user:pass@host/ and https://user:password@example.com",
        "tokenize(source, 'utf-8')",
        'token_type = "application/x-www-form-urlencoded"',
        "class SecretToken2Provider(TokenProvider): pass",
        "if token == 'AbstractTokenProvider2Factory': pass",
        "sk-folding-cube sk-animation-name-of-something",
        "ssh://git@github.com:22/org/repo",
        "-----BEGIN PRIVATE KEY-----",
        'if line == "-----BEGIN RSA PRIVATE KEY-----":\n    read(line)\n"-----END RSA PRIVATE KEY-----"',
        "-----BEGIN CERTIFICATE-----\nMIIEpAIBAAKCAQEA\n-----END CERTIFICATE-----",
        'password_hint = "Wrong password, try again"',
        "AKIA is how ids of access keys start",
    ],
)
def test_source_that_only_speaks_of_secrets_stays_as_it_is(text):
    assert mask_secrets("a.py", text.encode()) == (text.encode(), 0)


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_of_a_private_key_the_frame_and_the_lines_remain(kind, newline):
    text = f"before\n-----BEGIN {kind}-----\n{BODY}\n-----END {kind}-----\nafter\n".replace("\n", newline).encode()
    masked, count = mask_secrets("notes.txt", text)
    assert count == 1
    assert [len(line) for line in masked.splitlines()] == [len(line) for line in text.splitlines()]
    assert b"MII" not in masked
    assert b"q7Zr2L" not in masked
    assert masked.startswith(b"before")
    assert masked.rstrip().endswith(f"-----END {kind}-----{newline}after".encode())


def test_private_keys_are_found_in_string_literals_and_without_their_end():
    literal = 'KEY = "-----BEGIN RSA PRIVATE KEY-----\\n' + RANDOM + '\\n-----END RSA PRIVATE KEY-----\\n"\n'
    masked, count = mask_secrets("a.py", literal.encode())
    assert (RANDOM.encode() in masked, count) == (False, 1)
    cut = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n\nthe rest (of the file) stays\n".encode()
    masked, count = mask_secrets("a.txt", cut)
    assert (masked.splitlines()[-1], b"MII" in masked, count) == (b"the rest (of the file) stays", False, 1)


def test_each_secret_counts_once():
    text = f'token = "ghp_{RANDOM[:36]}"\nother = "AKIAIOSFODNN7EXAMPLE"\n'.encode()
    assert mask_secrets("a.py", text)[1] == 2


@given(st.binary(max_size=300), st.sampled_from([f"ghp_{RANDOM[:36]}", JWT, f'password = "{RANDOM[:20]}"']))
def test_offsets_and_lines_never_move(noise, secret):
    data = noise + b"\n" + secret.encode() + b"\n" + noise
    masked, count = mask_secrets("a.py", data)
    assert count >= 1
    assert len(masked) == len(data)
    assert [len(line) for line in masked.splitlines()] == [len(line) for line in data.splitlines()]


@given(st.binary(max_size=400))
def test_masking_twice_is_masking_once(data):
    masked, _ = mask_secrets("a.yml", data)
    assert mask_secrets("a.yml", masked)[0] == masked


@pytest.mark.parametrize(
    "unit", ["password", "://a:", "secret_", "eyJaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "bearer "]
)
def test_time_grows_linearly_with_hostile_files(unit):
    began = time.monotonic()
    mask_secrets("a.yml", (unit * (1_000_000 // len(unit))).encode())
    assert time.monotonic() - began < 5.0
