"""From a configuration and its folder to the cells that run it. Digests tell what a reload has to replace."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from organism.bundle import Bundle
from organism.config import Isolation, Listener, OrganismConfig
from organism.messages import new_id
from organism.source_digest import SourceDigests
from organism.wire import CellSpec


@dataclass(frozen=True, slots=True)
class CellPlan:
    """A cell to run. `definitions` are digests of what matters to each listener: its section, its code, the rest."""

    name: str
    listeners: tuple[Listener, ...]
    definitions: dict[str, str]

    @property
    def definition(self) -> str:
        return hashlib.sha256(orjson.dumps(self.definitions, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Organism:
    """What is active: a validated configuration, its folder's content, and the variables of `.env`."""

    config: OrganismConfig
    bundle: Bundle
    environ: dict[str, str]


def isolation_of(listener: Listener, config: OrganismConfig) -> Isolation:
    return listener.isolation or config.isolation


def definitions_of(organism: Organism, folder: Path) -> dict[str, str]:
    """By listener: a digest of everything that a running cell of it has taken in."""
    config = organism.config
    sources = SourceDigests(folder)
    common = (_handler_limits(config), config.llm.model_dump(mode="json"), sorted(organism.environ.items()))
    return {
        each.name: _digest(
            each.model_dump_json(),
            isolation_of(each, config),
            sources.of(each),
            [peer.model_dump_json() for peer in config.listeners if peer.name in each.peers],
            common,
        )
        for each in config.listeners
    }


def _handler_limits(config: OrganismConfig) -> dict[str, Any]:
    """What a cell is told of the sections that it has no part of: fields of CellSpec."""
    return {
        "handler_timeout_s": config.supervision.handler_timeout_s,
        "max_tokens_per_thread": config.max_tokens_per_thread or config.llm.max_tokens_per_thread,
        "max_outputs": config.limits.max_outputs,
        "max_payload_bytes": config.limits.max_payload_bytes,
        "max_state_bytes": config.limits.max_state_bytes,
    }


def plan_cells(
    config: OrganismConfig, definitions: dict[str, str], listeners: list[Listener], generation: int
) -> list[CellPlan]:
    """A cell for each listener with `isolation: actor`; the others share `config.shared_cells`."""
    suffix = "" if generation == 0 else f"@{generation}"
    alone = [each for each in listeners if isolation_of(each, config) == "actor"]
    shared = [each for each in listeners if isolation_of(each, config) == "shared"]
    plans = [CellPlan(f"agent:{each.name}{suffix}", (each,), {each.name: definitions[each.name]}) for each in alone]
    for index in range(min(config.shared_cells, len(shared))):
        members = tuple(shared[index :: config.shared_cells])
        digests = {each.name: definitions[each.name] for each in members}
        plans.append(CellPlan(f"cell:shared-{index + 1}{suffix}", members, digests))
    return plans


def cell_spec(plan: CellPlan, organism: Organism) -> CellSpec:
    """A new incarnation of the planned cell."""
    config = organism.config
    return CellSpec(
        name=plan.name,
        incarnation=new_id(),
        definition=plan.definition,
        listeners=plan.listeners,
        bundle_digest=organism.bundle.digest,
        bundle=organism.bundle.content,
        peers={each.name: _peers(each, config) for each in plan.listeners},
        llm=config.llm,
        environ=organism.environ,
        **_handler_limits(config),
    )


def _peers(listener: Listener, config: OrganismConfig) -> tuple[Listener, ...]:
    known = (config.listener(name) for name in listener.peers)
    return tuple(each for each in known if each is not None)


def _digest(*parts: object) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()
