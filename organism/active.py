"""What is at work: the configuration with its folder's content, read, stored for a pump that restarts, and compared."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from organism.bundle import Bundle, pack, unpack
from organism.config import OrganismConfig
from organism.config_file import parse_config, read_config_text, read_dotenv
from organism.plan import CellPlan, Organism, definitions_of
from organism.ref import Reloaded

ACTIVE = "active"
"""The setting of the storage that holds it."""


@dataclass(frozen=True, slots=True)
class Active:
    """The configuration at work. text: organism.yaml as it was read. definitions: see plan.definitions_of."""

    organism: Organism
    text: str
    definitions: dict[str, str]
    generation: int

    @property
    def config(self) -> OrganismConfig:
        return self.organism.config


def read_active(path: Path, generation: int = 0) -> Active:
    """Reads the file and its folder; blocking.

    Raises:
        ConfigError, BundleError: the organism cannot be run as it is.
    """
    folder = path.parent
    text = read_config_text(path)
    config = parse_config(text, str(path))
    bundle = pack(folder)
    organism = Organism(config, bundle, read_dotenv(folder))
    unpacked = unpack(bundle.content, bundle.digest)
    return Active(organism, text, definitions_of(organism, unpacked), generation)


class Stored(NamedTuple):
    """What an earlier pump had at work, and its cells."""

    active: Active
    plans: list[CellPlan]


def stored_active(path: Path, settings: dict[str, str]) -> Stored | None:
    """None if there was none. `.env` is read again: secrets are not stored."""
    text = settings.get(ACTIVE)
    if text is None:
        return None
    stored = orjson.loads(text)
    config = parse_config(stored["text"], str(path))
    bundle = Bundle(stored["digest"], base64.b64decode(stored["bundle"]))
    organism = Organism(config, bundle, read_dotenv(path.parent))
    active = Active(organism, stored["text"], stored["definitions"], stored["generation"])
    by_name = {each.name: each for each in config.listeners}
    plans = [
        CellPlan(name, tuple(by_name[each] for each in definitions), definitions)
        for name, definitions in stored["cells"]
    ]
    return Stored(active, plans)


def to_setting(active: Active, plans: list[CellPlan]) -> str:
    """What `stored_active` reads again."""
    stored = {
        "text": active.text,
        "bundle": base64.b64encode(active.organism.bundle.content).decode(),
        "digest": active.organism.bundle.digest,
        "definitions": active.definitions,
        "generation": active.generation,
        "cells": [[plan.name, plan.definitions] for plan in plans],
    }
    return orjson.dumps(stored).decode()


def compare(old: Active, new: Active) -> Reloaded:
    """Which listeners a reload from `old` to `new` has to replace."""
    before, after = old.definitions, new.definitions
    return Reloaded(
        added=[name for name in after if name not in before],
        changed=[name for name in after if name in before and before[name] != after[name]],
        removed=[name for name in before if name not in after],
        unchanged=[name for name in after if before.get(name) == after[name]],
    )
