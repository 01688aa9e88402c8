"""From organism.yaml to what the librarian wants to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from librarian.config import EmbedderChoice, GitCredential, IngestLimits, SourceRules
from organism.config import LlmSection, OrganismConfig
from serve_app.ports import is_loopback


@dataclass(frozen=True, slots=True)
class LibrarianSettings:
    """What the processes of an organism's librarian are started with.

    folder: the organism's; its .env is read there. root: where libraries are, a path or a URL. is_local: that is a
    folder of this machine, so that they must run here, too. model: of answers that name none. workers: processes of a
    large ingest, None for one per CPU.
    """

    folder: str
    root: str
    is_local: bool
    rules: SourceRules
    embedder: EmbedderChoice
    llm: LlmSection
    model: str | None
    workers: int | None
    replicas: int
    variables: dict[str, str] = field(default_factory=dict)


def librarian_settings(
    config: OrganismConfig, folder: Path, host: str, variables: dict[str, str] | None = None
) -> LibrarianSettings:
    """`host`: where the API listens. `variables`: the environment that the processes do not inherit."""
    section = config.librarian
    is_local = "://" not in section.path
    return LibrarianSettings(
        folder=str(folder),
        root=str(folder / Path(section.path).expanduser()) if is_local else section.path,
        is_local=is_local,
        rules=_source_rules(config, host),
        embedder=EmbedderChoice(**section.embedder.model_dump()),
        llm=config.llm,
        model=section.model,
        workers=section.workers,
        replicas=section.replicas,
        variables=variables or {},
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
