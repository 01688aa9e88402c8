"""What is kept of who did what."""

from __future__ import annotations

from typing import Literal, NamedTuple

from organism.messages import iso_timestamp

Outcome = Literal["ok", "refused", "failed"]


class AuditRecord(NamedTuple):
    """at: in milliseconds since 1970. who: a principal's id, empty for nobody. action: the verb, such as `pause`,
    `inject`, `login`, `key.add`. target: what it was done to. address: of the client. outcome: `refused` for a 4xx,
    `failed` for a 5xx. detail: why, or more of what, without any secret. seq: the position in the audit log, 0 before
    it is stored."""

    at: int
    who: str
    action: str
    target: str
    address: str
    outcome: Outcome
    detail: str = ""
    seq: int = 0

    def to_api(self) -> dict[str, object]:
        return {
            "seq": self.seq,
            "at": iso_timestamp(self.at),
            "who": self.who or None,
            "action": self.action,
            "target": self.target,
            "address": self.address,
            "outcome": self.outcome,
            "detail": self.detail,
        }


class AuditFilter(NamedTuple):
    """All conditions hold together; None does not count. before: only records with a smaller seq. since: not older.
    after: only records with a larger seq; what is stored later has a larger one than all that could be read before."""

    who: str | None = None
    action: str | None = None
    outcome: Outcome | None = None
    before: int | None = None
    since: int | None = None
    after: int | None = None
