"""What the options of `organism keys add` mean."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from organism.access.keys import NewKey
from organism.access.principal import Bounds, Role
from organism.cli.failures import WrongUse
from organism.config import NAME_PATTERN

_AFTER = re.compile(r"([1-9][0-9]{0,4})([dh])")
_UNITS = {"d": "days", "h": "hours"}


def new_key(
    name: str,
    role: str,
    agents: str | None,
    libraries: str | None,
    sessions: str | None,
    expires: str | None,
    now: datetime,
) -> NewKey:
    """Raises: WrongUse, which names the option."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise WrongUse(f"NAME: {name!r} must begin with a letter; then letters, digits, _ . -, 100 at most in all")
    bounds = (_names("--agents", agents), _names("--libraries", libraries), _names("--sessions", sessions))
    is_bound = any(each is not None for each in bounds)
    return NewKey(
        name,
        Role.named(role),
        Bounds(*(each or frozenset() for each in bounds)) if is_bound else None,
        None if expires is None else moment_ms(expires, now),
    )


def _names(option: str, text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    names = [each.strip() for each in text.split(",")]
    if not all(names):
        raise WrongUse(f"{option}: {text!r} has an empty name; give names with commas between, or * for all")
    return frozenset(names)


def moment_ms(text: str, now: datetime) -> int:
    """When a key ends that is to `expire` so: 30d, 12h, a date (it begins, in UTC) or a time; in ms since 1970.

    Raises:
        WrongUse
    """
    after = _AFTER.fullmatch(text)
    moment = now + timedelta(**{_UNITS[after[2]]: int(after[1])}) if after else _date(text)
    if moment <= now:
        raise WrongUse(f"--expires: {text} is over already")
    return int(moment.timestamp() * 1000)


def _date(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUse(f"--expires: {text!r} is none of 30d, 12h, 2027-01-01, 2027-01-01T10:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
