"""Tells who a key or a token belongs to."""

from __future__ import annotations

from collections.abc import Callable

from organism.access.keys import ApiKey, hash_of, parse_key
from organism.access.principal import LOCAL, Principal, Role
from organism.errors import OrganismError, OrganismUnreachable, Unauthenticated
from organism.messages import now_ms
from serve_app.jwt_tokens import TokenVerifier

MISSING = (
    "authentication is needed: send a key as `X-API-Key` or a token as `Authorization: Bearer`; "
    "`organism keys add` makes keys"
)
NOT_YET = "this API replica does not know yet who may use it"
UNKNOWN = "this key is unknown, revoked or mistyped; `organism keys list` shows those there are"
EXPIRED = "this key has expired; `organism keys add` makes another"

MAX_SEEN = 10_000
"""Keys that are recognised without computing their hash again."""

_DECOY = ApiKey("decoy", "decoy", Role.VIEWER, None, bytes(16), hash_of(bytes(16), "decoy"), 0, revoked_at=0)
"""Compared with where no key has the id, so that it takes as long to be told so."""


class Authority:
    """Knows all keys, by what the pump tells, and how tokens are verified.

    required: whether authentication is on without any key, as it is now; None: not known yet.
    """

    def __init__(
        self, required: Callable[[], bool | None], verifier: TokenVerifier | None, *, clock: Callable[[], int] = now_ms
    ) -> None:
        self._required = required
        self._verifier = verifier
        self._clock = clock
        self._keys: dict[str, tuple[ApiKey, Principal]] = {}
        self._seen: dict[
            str, ApiKey
        ] = {}  # by the text that has opened; a lookup compares hashes of Python's own first
        self._uses: dict[str, int] = {}
        self._has_heard = False
        self._is_on = verifier is not None

    @property
    def is_informed(self) -> bool:
        """Whether it knows the keys, and whether authentication is on. Before that only keys and tokens that it knows
        are let in."""
        return self._has_heard and (self._is_on or self._required() is not None)

    @property
    def is_required(self) -> bool:
        """Whether anybody has to say who he is."""
        return self._is_on or not self._has_heard or self._required() is not False

    def nobody(self) -> Principal | None:
        """Who asks without credentials: everybody is LOCAL where there is no authentication."""
        return None if self.is_required else LOCAL

    def take(self, keys: list[ApiKey]) -> None:
        """All keys there are, also revoked ones."""
        self._keys = {key.id: (key, key.principal) for key in keys}
        self._seen = {}
        self._has_heard = True
        self._is_on = self._is_on or bool(keys)  # a storage that has lost its keys must not let everybody in

    def take_uses(self) -> dict[str, int]:
        """When keys were last used, by key id, since this was last called; milliseconds since 1970."""
        uses, self._uses = self._uses, {}
        return uses

    async def identify(self, text: str) -> Principal:
        """Raises: Unauthenticated; OrganismUnreachable, where that cannot be told now."""
        principal = self.recognise(text)
        if principal is not None:
            return principal
        if self._verifier is None:
            self._check_informed()
            raise Unauthenticated("this is no key of this organism, and tokens are not taken (auth.jwt)")
        return await self._verifier.verify(text)

    def recognise(self, text: str) -> Principal | None:
        """What can be told at once: keys, and tokens that were verified before. Raises as `identify`."""
        if (seen := self._seen.get(text)) is not None and seen.is_usable(now := self._clock()):
            self._uses[seen.id] = now
            return self._keys[seen.id][1]
        parsed = parse_key(text)
        if parsed is None:
            return None if self._verifier is None else self._verifier.cached(text)
        self._check_informed()
        principal = self._of_key(*parsed)
        if len(self._seen) < MAX_SEEN:
            self._seen[text] = self._keys[parsed[0]][0]
        return principal

    def refusal_of_nobody(self) -> OrganismError:
        """Why who sends no credentials is not let in."""
        return Unauthenticated(MISSING) if self.is_informed else OrganismUnreachable(NOT_YET)

    def _check_informed(self) -> None:
        if not self.is_informed:
            raise OrganismUnreachable(NOT_YET)

    def _of_key(self, key_id: str, secret: str) -> Principal:
        found = self._keys.get(key_id)
        key = _DECOY if found is None else found[0]
        if not key.fits(secret) or found is None or key.revoked_at is not None:
            raise Unauthenticated(UNKNOWN)
        now = self._clock()
        if not key.is_usable(now):
            raise Unauthenticated(EXPIRED)
        self._uses[key_id] = now
        return found[1]

    def still_stands(self, principal: Principal) -> bool:
        """Whether who was let in would be let in again, with the same rights: for what stays open."""
        if principal.expires_at is not None and principal.expires_at <= self._clock():
            return False
        if not principal.credential:
            return not self.is_required
        if principal.id.startswith("key:"):
            found = self._keys.get(principal.credential)
            return found is not None and found[0].revoked_at is None and found[1] == principal
        return self._verifier is not None
