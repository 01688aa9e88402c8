"""The first event on /ws: the picture, as far as a principal sees it."""

from __future__ import annotations

import orjson

from organism.access.principal import Principal
from serve_app.bounds import sees_any
from serve_app.live import Live


def connected_text(live: Live, principal: Principal, seq: int) -> str:
    """One text serves all who see all agents. Raises: OrganismUnreachable."""
    if principal.bounds is None:
        return live.connected_text(seq)
    shown = {
        "event": "connected",
        "seq": seq,
        "organism": live.organism(),
        "agents": live.agents(bounds=principal.bounds),
        "threads": [view for view in live.threads().values() if sees_any(principal, view["participants"])],
    }
    return orjson.dumps(shown).decode()
