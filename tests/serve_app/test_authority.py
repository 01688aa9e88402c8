from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

import jwt
import pytest

from organism.access.keys import IssuedKey, NewKey, issue
from organism.access.principal import LOCAL, Bounds, Role
from organism.config import JwtSection
from organism.errors import OrganismUnreachable, Unauthenticated
from serve_app.authority import EXPIRED, UNKNOWN, Authority
from serve_app.jwt_tokens import TokenVerifier

NOW_MS = 1_800_000_000_000
SECRET = "a secret that is long enough to sign tokens with"


def issued(name: str = "ops", role: Role = Role.OPERATOR, expires_at: int | None = None) -> IssuedKey:
    return issue(NewKey(name, role, None, expires_at), NOW_MS - 1000)


def authority_of(*keys: IssuedKey, verifier: TokenVerifier | None = None, required: bool = False) -> Authority:
    authority = Authority(lambda: required, verifier, clock=lambda: NOW_MS)
    authority.take([each.key for each in keys])
    return authority


@pytest.fixture
def verifier() -> TokenVerifier:
    return TokenVerifier(JwtSection(secret_env="S"), SECRET, Path(), lambda: NOW_MS / 1000)


def test_everybody_is_local_where_there_is_no_authentication():
    authority = authority_of()
    assert not authority.is_required
    assert authority.nobody() is LOCAL


def test_nobody_is_let_in_before_the_keys_are_known():
    authority = Authority(lambda: False, None)
    assert authority.is_required
    assert authority.nobody() is None
    with pytest.raises(OrganismUnreachable):
        authority.recognise(issued().text)


def test_a_key_a_verifier_or_the_file_turn_authentication_on(verifier):
    assert authority_of(issued()).nobody() is None
    assert authority_of(verifier=verifier).nobody() is None
    assert authority_of(required=True).nobody() is None


def test_a_revoked_key_leaves_authentication_on_and_opens_nothing():
    issue_ = issued()
    authority = authority_of(issue_._replace(key=issue_.key._replace(revoked_at=NOW_MS)))
    assert authority.is_required
    with pytest.raises(Unauthenticated, match="unknown, revoked or mistyped"):
        authority.recognise(issue_.text)


def test_authentication_stays_on_when_the_storage_has_lost_its_keys():
    authority = authority_of(issued())
    authority.take([])
    assert authority.nobody() is None
    assert not authority.still_stands(LOCAL)


async def test_until_it_is_known_whether_authentication_is_on_the_client_is_not_blamed():
    required = None
    authority = Authority(lambda: required, None)
    authority.take([])
    assert authority.nobody() is None
    assert isinstance(authority.refusal_of_nobody(), OrganismUnreachable)
    for text in (issued().text, "nonsense"):
        with pytest.raises(OrganismUnreachable, match="does not know yet"):
            await authority.identify(text)
    required = True
    assert isinstance(authority.refusal_of_nobody(), Unauthenticated)
    with pytest.raises(Unauthenticated):
        await authority.identify("nonsense")
    required = False
    assert authority.nobody() is LOCAL


async def test_a_key_opens_before_it_is_known_whether_others_need_one():
    key = issued()
    authority = Authority(lambda: None, None)
    authority.take([key.key])
    assert await authority.identify(key.text) == key.key.principal
    assert isinstance(authority.refusal_of_nobody(), Unauthenticated)


async def test_a_key_tells_who_asks_and_its_use_is_noted():
    key = issued()
    authority = authority_of(issued("other"), key)
    assert await authority.identify(key.text) == key.key.principal
    assert authority.take_uses() == {key.key.id: NOW_MS}
    assert authority.take_uses() == {}


def test_an_expired_key_says_so_only_to_who_has_it():
    key = issued(expires_at=NOW_MS)
    authority = authority_of(key)
    with pytest.raises(Unauthenticated) as caught:
        authority.recognise(key.text)
    assert str(caught.value) == EXPIRED
    with pytest.raises(Unauthenticated) as caught:
        authority.recognise(wrong_secret(key.text))
    assert str(caught.value) == UNKNOWN


def test_a_wrong_key_is_no_use_of_it():
    key = issued()
    authority = authority_of(key)
    with pytest.raises(Unauthenticated):
        authority.recognise(wrong_secret(key.text))
    assert authority.take_uses() == {}


@pytest.mark.parametrize("text", ["", "org_", "org_x_y", "Bearer x", "a.b.c", "org_" + "a" * 5000, "\udcff"])
async def test_what_is_no_key_is_refused(text):
    with pytest.raises(Unauthenticated):
        await authority_of(issued()).identify(text)


async def test_a_token_is_recognised_once_it_was_verified(verifier):
    authority = authority_of(verifier=verifier)
    token = jwt.encode({"sub": "ann", "role": "viewer", "exp": NOW_MS // 1000 + 60}, SECRET)
    assert authority.recognise(token) is None
    principal = await authority.identify(token)
    assert principal.id == "user:ann"
    assert authority.recognise(token) is principal
    assert authority.still_stands(principal)


def test_what_is_open_ends_with_its_key():
    key = issued()
    principal = key.key.principal
    authority = authority_of(key)
    assert authority.still_stands(principal)
    for change in ({"revoked_at": NOW_MS}, {"role": Role.VIEWER}, {"bounds": Bounds()}, {"expires_at": NOW_MS + 5}):
        authority.take([key.key._replace(**change)])
        assert not authority.still_stands(principal)
    authority.take([])
    assert not authority.still_stands(principal)


def test_what_is_open_ends_when_it_expires_or_when_authentication_begins():
    expired = issued(expires_at=NOW_MS)
    assert not authority_of(expired).still_stands(expired.key.principal)
    assert authority_of().still_stands(LOCAL)
    assert not authority_of(issued()).still_stands(LOCAL)


def wrong_secret(text: str, right_chars: int = 0) -> str:
    """Right up to so many characters of the secret."""
    prefix, secret = text[:15], text[15:]
    return prefix + secret[:right_chars] + "".join("A" if char != "A" else "B" for char in secret[right_chars:])


def test_the_time_a_wrong_key_takes_tells_nothing():
    """A right id, a secret that is right but for its end, and a revoked key take as long as what was never there."""
    key, revoked = issued("a"), issued("b")
    authority = authority_of(key, revoked._replace(key=revoked.key._replace(revoked_at=NOW_MS)))
    texts = {
        "unknown id": issued("c").text,
        "wrong at once": wrong_secret(key.text),
        "wrong at the end": wrong_secret(key.text, right_chars=41),
        "revoked": revoked.text,
    }
    took_ns: dict[str, list[int]] = {name: [] for name in texts}
    order = random.Random(5)
    for _ in range(3000):
        for name in order.sample(list(texts), len(texts)):  # none of them profits from its place
            began = time.perf_counter_ns()
            try:
                authority.recognise(texts[name])
            except Unauthenticated:
                took_ns[name].append(time.perf_counter_ns() - began)
    medians = {name: statistics.median(times) for name, times in took_ns.items()}
    spread = statistics.quantiles(took_ns["unknown id"], n=10)
    noise_ns = max(spread[-2] - spread[1], 0.15 * medians["unknown id"])
    assert all(len(times) == 3000 for times in took_ns.values())
    assert max(medians.values()) - min(medians.values()) < noise_ns, medians
