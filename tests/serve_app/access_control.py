"""The application with access control, over storage in memory, and callers of every kind."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt
from fake_librarian import FakeLibrarian
from fake_organism import FakeOrganism
from fake_sessions import FakeSessions
from fastapi import FastAPI

from organism.access.desk import AccessDesk
from organism.access.keys import NewKey
from organism.access.principal import Bounds, Role
from organism.config import JwtSection, PrincipalLimits
from organism.messages import now_ms
from organism.storage.access.memory import MemoryAccessStorage
from serve_app.app import build_app
from serve_app.gate import Place
from serve_app.jwt_tokens import TokenVerifier

SECRET = "a secret of the tests that is long enough for HS256"
HOST = "organism.example"

ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)

STRANGERS = ("nobody", "expired", "revoked", "wrong signature", "alg none", "expired token", "garbage")
"""Callers who get in nowhere."""


@dataclass
class Guarded:
    """app: with `storage` behind its keys. keys: what is sent, by who sends it."""

    app: FastAPI
    storage: MemoryAccessStorage
    desk: AccessDesk
    organism: FakeOrganism
    sessions: FakeSessions
    librarian: FakeLibrarian
    keys: dict[str, str] = field(default_factory=dict)

    async def add(self, name: str, role: Role, bounds: Bounds | None = None) -> str:
        self.keys[name] = (await self.desk.add_key(NewKey(name, role, bounds))).text
        return self.keys[name]

    async def refresh(self) -> None:
        await self.app.state.replica.access.refresh()

    def client(self, name: str | None = None) -> httpx.AsyncClient:
        """One that sends the key of this name; None: nothing."""
        headers = self.headers_of("nobody" if name is None else name)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=headers, timeout=20)

    def credential_of(self, caller: str) -> str:
        """What this caller says to be known by: the name of a key, one of STRANGERS, or what else there is here."""
        tokens = {
            "wrong signature": token(secret="another secret that is long enough for HS256, too"),
            "alg none": token(algorithm="none"),
            "expired token": token(expires_in_s=-3600),
            "token without a role": token(None),
            "token": token(),
        }
        others = {"nobody": "", "garbage": "org_aaaaaaaaaa_" + 43 * "x", **tokens}
        return others[caller] if caller in others else self.keys[caller]

    def headers_of(self, caller: str) -> dict[str, str]:
        credential = self.credential_of(caller)
        if credential.count(".") == 2:
            return {"authorization": f"Bearer {credential}"}
        return {"x-api-key": credential} if credential else {}


def token(
    role: str | None = "admin", *, secret: str = SECRET, expires_in_s: float = 60, algorithm: str = "HS256"
) -> str:
    claims = {"sub": "alice", "exp": time.time() + expires_in_s} | ({} if role is None else {"role": role})
    return jwt.encode(claims, "" if algorithm == "none" else secret, algorithm)


@asynccontextmanager
async def guarded(
    folder: Path, limits: PrincipalLimits | None = None, *, takes_tokens: bool = True, bind_host: str = "0.0.0.0"
) -> AsyncIterator[Guarded]:
    """With a key of each role and of each kind that does not open: `viewer`, `operator`, `admin`, `expired`,
    `revoked`; `other` is another operator."""
    storage = MemoryAccessStorage()
    desk = AccessDesk(storage, lambda: limits or PrincipalLimits())
    config = {"auth": {"limits": limits.model_dump()}} if limits else {}
    organism, sessions, librarian = FakeOrganism(**config), FakeSessions(folder / "workspace"), FakeLibrarian()
    verifier = TokenVerifier(JwtSection(secret_env="S"), SECRET, folder) if takes_tokens else None
    app = build_app(
        organism,
        lambda: sessions,
        librarian,
        access_service=desk,
        verifier=verifier,
        place=Place(bind_host),
    )
    it = Guarded(app, storage, desk, organism, sessions, librarian)
    for role in ROLES:
        await it.add(role.label, role)
    await it.add("other", Role.OPERATOR)
    await it.add("revoked", Role.ADMIN)
    await desk.revoke_key("revoked")
    it.keys["expired"] = (await desk.add_key(NewKey("expired", Role.ADMIN, None, now_ms() - 1))).text
    async with app.router.lifespan_context(app):
        yield it
