"""From organism.yaml to what the librarian wants to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from librarian.config import EmbedderChoice, GitCredential, IngestLimits, SourceRules
from organism.config import LlmSection, OrganismConfig
from organism.web_names import is_loopback


@dataclass(frozen=True, slots=True)
class LibrarianSettings:
    """What the processes of an organism's librarian are started with.

    folder: the organism's; its .env is read there. root: where libraries are, a path or a URL. resources: of Ray, which
    say where they run: beside `root`, where that is a folder. model: of answers that name none. workers: processes of a
    large ingest, None for one per CPU. variables: environment that the processes do not inherit.
    """

    folder: str
    root: str
    resources: dict[str, float]
    rules: SourceRules
    embedder: EmbedderChoice
    llm: LlmSection
    model: str | None
    workers: int | None
    replicas: int
    variables: dict[str, str]


def librarian_settings(
    config: OrganismConfig, folder: Path, host: str, node_ip: str, variables: Mapping[str, str]
) -> LibrarianSettings | None:
    """None where it is switched off.

    Args:
        host: where the API listens.
        node_ip: of the node of Ray that has the folder.
        variables: the environment that Serve's processes do not inherit.
    """
    if not config.librarian.enabled:
        return None
    section = config.librarian
    is_local = "://" not in section.path
    return LibrarianSettings(
        folder=str(folder),
        root=str(folder / Path(section.path).expanduser()) if is_local else section.path,
        resources={f"node:{node_ip}": 0.001} if is_local else {},
        rules=_source_rules(config, host),
        embedder=EmbedderChoice(**section.embedder.model_dump()),
        llm=config.llm,
        model=section.model,
        workers=section.workers,
        replicas=section.replicas,
        variables=dict(variables),
    )


def _source_rules(config: OrganismConfig, host: str) -> SourceRules:
    section = config.librarian
    local = is_loopback(host) if section.local_repositories is None else section.local_repositories
    return SourceRules(
        local=local,
        private_hosts=section.private_hosts,
        credentials=tuple(GitCredential(**each.model_dump()) for each in section.credentials),
        limits=IngestLimits(**section.limits.model_dump()),
    )
