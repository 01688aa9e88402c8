"""What whoever starts a librarian decides. serve_app fills it from the `librarian` section of organism.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """More than the first five is refused, files beyond the next three are skipped and reported."""

    max_files: int = 200_000
    max_total_bytes: int = 2_000_000_000
    max_clone_bytes: int = 2_000_000_000
    fetch_timeout_s: float = 600.0
    max_jobs: int = 20
    max_file_bytes: int = 1_000_000
    max_line_chars: int = 5_000
    max_path_bytes: int = 1_024
    parse_timeout_s: float = 3.0


@dataclass(frozen=True, slots=True)
class GitCredential:
    """For network URLs of `host`: the token in the environment variable `token_env`, with `username`."""

    host: str
    token_env: str
    username: str = "x-access-token"


@dataclass(frozen=True, slots=True)
class SourceRules:
    """Which repositories may be read. local: file:// and paths. private_hosts: may have private addresses."""

    local: bool
    private_hosts: tuple[str, ...] = ()
    credentials: tuple[GitCredential, ...] = ()
    limits: IngestLimits = field(default_factory=IngestLimits)


@dataclass(frozen=True, slots=True)
class EmbedderChoice:
    """provider: minilm-static | hashing | openai. The rest is for openai: an OpenAI-compatible endpoint."""

    provider: str = "minilm-static"
    base_url: str | None = None
    model: str = ""
    api_key_env: str | None = None
    dim: int | None = None
    timeout_s: float = 60.0
