"""What the handlers of the soak do with a message: nothing but a function of it, so that the log can be checked."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

NAMES = ("n0", "n1", "n2", "n3", "n4")
STRANGER = "nobody"


class Planned(NamedTuple):
    """One output: `to` None is a reply."""

    to: str | None
    depth: int
    seed: int


def planned_outputs(name: str, depth: int, seed: int) -> list[Planned]:
    random = Random(f"{name} {depth} {seed}")
    if depth == 0:
        return [Planned(None, 0, 0)] if random.random() < 0.5 else []
    targets = [*NAMES, STRANGER] if random.random() < 0.1 else NAMES
    return [
        Planned(random.choice(targets), depth - 1, random.randrange(1_000_000)) for _ in range(random.randrange(0, 4))
    ]
