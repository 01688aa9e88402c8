"""What the routes of access control take and show."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from organism.access.audit import AuditFilter, Outcome
from organism.access.keys import KeyState, NewKey
from organism.access.principal import Bounds, Role, RoleName
from organism.config import NAME_PATTERN
from organism.messages import now_ms
from serve_app.queries import Moment, Named, Position, milliseconds

Names = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=1000)]


class BoundsView(BaseModel):
    """What a key is bound to; `*` stands for all. It reaches nothing else."""

    model_config = ConfigDict(extra="forbid")

    agents: Names = []
    libraries: Names = []
    sessions: Names = []

    def bounds(self) -> Bounds:
        return Bounds(frozenset(self.agents), frozenset(self.libraries), frozenset(self.sessions))


class IdentityView(BaseModel):
    id: str = Field(description="`key:<name>`, `user:<sub>`, or `local` without authentication")
    role: RoleName
    bounds: BoundsView | None
    expires_at: str | None


class KeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, description="sessions belong to it: a new key of the same name has them")
    role: RoleName
    bounds: BoundsView | None = Field(default=None, description="left out: not bound")
    expires_at: Moment | None = Field(default=None, description="left out: never")

    @field_validator("expires_at")
    @classmethod
    def _is_to_come(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and milliseconds(moment) <= now_ms():
            raise ValueError("must be in the future")
        return moment

    def new_key(self) -> NewKey:
        bounds = None if self.bounds is None else self.bounds.bounds()
        expires_at = None if self.expires_at is None else milliseconds(self.expires_at)
        return NewKey(self.name, Role.named(self.role), bounds, expires_at)


class KeyView(BaseModel):
    id: str
    name: str
    role: RoleName
    bounds: BoundsView | None
    state: KeyState
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class IssuedKeyView(KeyView):
    key: str = Field(description="the key itself; kept nowhere")


class KeyList(BaseModel):
    keys: list[KeyView]
    count: int


class AuditRecordView(BaseModel):
    seq: int
    at: str
    who: str | None = Field(description="None: nobody known")
    action: str
    target: str
    address: str
    outcome: Outcome
    detail: str


class AuditPage(BaseModel):
    records: list[AuditRecordView]
    count: int


class AuditQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000, description="records in this page")
    who: Named | None = Field(default=None, description="only of this principal", examples=["key:ci"])
    action: Named | None = Field(default=None, description="only this verb", examples=["pause"])
    outcome: Outcome | None = None
    since: Moment | None = Field(default=None, description="only records that are not older")
    before: Position | None = Field(default=None, description="only records with a smaller seq")
    after: Position | None = Field(default=None, description="only records with a larger seq: the cheap way to follow")

    def filter(self) -> AuditFilter:
        since = None if self.since is None else milliseconds(self.since)
        return AuditFilter(self.who, self.action, self.outcome, self.before, since, self.after)


SCHEMAS = {"KeyRequest": KeyRequest.model_json_schema(ref_template="#/components/schemas/{model}")}
SCHEMAS |= SCHEMAS["KeyRequest"].pop("$defs")
"""Components that openapi_extra refers to, which FastAPI does not find by itself."""
