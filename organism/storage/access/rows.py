"""What is stored of keys and audit records, and its way back: the same for all databases."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from organism.access.audit import AuditFilter, AuditRecord
from organism.access.keys import SALT_BYTES, ApiKey
from organism.access.principal import Bounds, Role

logger = logging.getLogger(__name__)

NUL = b"\\u0000"
"""In JSON."""

HASH_BYTES = hashlib.sha256().digest_size


def storable(text: str) -> str:
    """As every database takes it: names that come from elsewhere, as in tokens, may have NUL or lone surrogates."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def storable_record(record: AuditRecord) -> AuditRecord:
    texts = (record.who, record.action, record.target, record.address)
    who, action, target, address = map(storable, texts)
    return AuditRecord(record.at, who, action, target, address, record.outcome, storable(record.detail))


def records_json(records: list[AuditRecord]) -> str:
    """An array of arrays, one for each record."""
    try:
        plain = orjson.dumps(list(map(tuple, records)))
    except TypeError:  # half a character
        plain = NUL
    return (orjson.dumps([tuple(storable_record(each)) for each in records]) if NUL in plain else plain).decode()


def storable_filter(where: AuditFilter) -> AuditFilter:
    """Finds what `storable_record` has stored."""
    who = None if where.who is None else storable(where.who)
    return where._replace(who=who, action=None if where.action is None else storable(where.action))


def key_row(key: ApiKey) -> dict[str, Any]:
    """By column. `bounds` is JSON: the names of agents, of libraries and of sessions."""
    bounds = None if key.bounds is None else orjson.dumps([sorted(each) for each in key.bounds]).decode()
    return {**key._asdict(), "role": int(key.role), "bounds": bounds}


def keys_of(rows: Iterable[Sequence[Any]], place: str) -> list[ApiKey]:
    """A damaged row comes as a key that no secret fits and that reaches nothing: if it were left out there might be
    no key at all, and without keys everybody may do everything."""
    return [_key_of(row, place) for row in rows]


def _key_of(row: Sequence[Any], place: str) -> ApiKey:
    key_id, name, role, bounds, salt, hash_, *times = row
    try:
        if (len(salt), len(hash_)) != (SALT_BYTES, HASH_BYTES):
            raise ValueError("salt or hash is not whole")
        return ApiKey(key_id, name, Role(role), _bounds_of(bounds), salt, hash_, *times)
    except ValueError as error:
        logger.warning("%s: key %s is damaged and lets nobody in (%s); revoke it, add another", place, key_id, error)
        return ApiKey(key_id, name, Role.VIEWER, Bounds(), b"", b"", *times)


def _bounds_of(text: str | None) -> Bounds | None:
    """Raises: ValueError."""
    if text is None:
        return None
    lists = orjson.loads(text)
    if not isinstance(lists, list) or len(lists) != len(Bounds._fields) or not all(map(_are_names, lists)):
        raise ValueError("its bounds are damaged")
    return Bounds(*map(frozenset, lists))


def _are_names(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
