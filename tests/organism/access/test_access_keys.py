"""Keys as they are made, told apart, and shown."""

from __future__ import annotations

import pytest

from organism.access.keys import NewKey, issue, parse_key
from organism.access.principal import Bounds, Principal, Role

NOW = 1_000_000


def test_a_key_fits_itself_alone():
    one, other = (issue(NewKey("ci", Role.VIEWER), NOW) for _ in range(2))
    parsed = parse_key(one.text)
    assert parsed is not None
    assert parsed[0] == one.key.id
    assert one.key.fits(parsed[1])
    assert not other.key.fits(parsed[1])


@pytest.mark.parametrize("text", ["", "org_", "org_aaaaaaaaaa_short", "sk-abcdefghijkl", "org_AAAAAAAAAA_" + 43 * "a"])
def test_other_text_is_no_key(text):
    assert parse_key(text) is None


def test_no_repr_shows_the_key_or_its_hash():
    issued = issue(NewKey("ci", Role.VIEWER), NOW)
    shown = repr(issued) + str(issued.key) + f"{[issued.key]}"
    assert issued.text not in shown
    assert repr(issued.key.hash) not in shown
    assert not {"hash", "salt"} & issued.key.to_api(NOW).keys()


def test_a_key_is_usable_until_it_expires_or_is_revoked():
    key = issue(NewKey("ci", Role.VIEWER, None, NOW + 1), NOW).key
    assert [key.state(now) for now in (NOW, NOW + 1)] == ["usable", "expired"]
    assert key._replace(revoked_at=NOW).state(NOW) == "revoked"


@pytest.mark.parametrize(
    ("bounds", "reached"),
    [
        (None, {"mine", "other"}),
        (Bounds(sessions=frozenset({"*"})), {"mine"}),
        (Bounds(sessions=frozenset({"other"})), {"other"}),
        (Bounds(agents=frozenset({"*"})), set()),
    ],
)
def test_an_admins_bounds_hold_for_sessions_too(bounds, reached):
    admin = Principal("key:a", Role.ADMIN, bounds)
    owners = {"mine": "key:a", "other": "key:b"}
    assert {each for each, owner in owners.items() if admin.may_reach_session(each, owner)} == reached
