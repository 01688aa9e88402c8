"""The audit log as it grows: each record once and in order, also through a restart of the organism."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from organism.cli.client import Api, RefusedByApi
from organism.cli.failures import ConnectionTrouble, NotTrusted

POLL_S = 1.0
PAGE = 1000  # records, the most that one answer holds


def follow(api: Api, where: Mapping[str, Any], after: int, notify: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """The records behind seq `after` that fit the filter `where`, as they come, for ever.

    `notify` is told once when the organism cannot be asked and once when it can again.

    Raises:
        CliFailure: the organism refuses the key, or shows a certificate that is not trusted.
    """
    is_lost = False
    while True:
        time.sleep(POLL_S)
        try:
            records = new_records(api, where, after)
        except (ConnectionTrouble, RefusedByApi) as trouble:
            if not _passes(trouble):
                raise
            if not is_lost:
                notify(f"{api.url} cannot be asked at present; asking again, from {after} on")
            is_lost = True
            continue
        if is_lost:
            notify("connected again")
        is_lost = False
        for record in records:
            yield record
            after = record["seq"]


def new_records(api: Api, where: Mapping[str, Any], after: int) -> list[dict[str, Any]]:
    """All records behind `after`, the oldest first, from as many pages as they take."""
    found: list[dict[str, Any]] = []
    before = None
    while True:
        page = api.get("audit", **where, after=after, before=before, limit=PAGE)["records"]
        found += page
        if len(page) < PAGE:
            return found[::-1]
        before = page[-1]["seq"]


def _passes(trouble: ConnectionTrouble | RefusedByApi) -> bool:
    """Whether it will be over by itself."""
    if isinstance(trouble, RefusedByApi):
        return trouble.status_code >= 500 or trouble.status_code == 429
    return not isinstance(trouble, NotTrusted)
