"""Which entries of a list a bound key gets: those that one of its agents takes part in."""

from __future__ import annotations

from collections.abc import Collection

from organism.access.principal import ANY, Principal

NOBODY = ("",)
"""No agent has this name: nothing is found."""


def reachable(agents: Collection[str], principal: Principal) -> tuple[str, ...]:
    """The agents to look for, none for all.

    Args:
        agents: those that were asked for, none for all.
    """
    bounds = principal.bounds
    if bounds is None or ANY in bounds.agents:
        return tuple(agents)
    return tuple(sorted(bounds.agents.intersection(agents) if agents else bounds.agents)) or NOBODY
