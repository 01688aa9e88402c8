"""organism.yaml as frozen models. Reading the file, with errors that name line and field, is config_file.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$"
DOTTED_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
DottedPath = Annotated[str, Field(pattern=DOTTED_PATTERN)]
Isolation = Literal["actor", "shared"]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OrganismSection(Section):
    name: Name
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port of the API; 0 picks a free one")


class Retry(Section):
    """How often a handler may try one message; the delay doubles from attempt to attempt."""

    attempts: int = Field(default=1, ge=1, le=100)
    delay_s: float = Field(default=0.5, ge=0, le=3600)
    max_delay_s: float = Field(default=30.0, ge=0, le=3600)


class Listener(Section):
    """A named capability with one payload class."""

    name: Name
    payload_class: DottedPath
    handler: DottedPath
    description: str = ""
    agent: bool = False
    peers: tuple[Name, ...] = ()
    broadcast: bool = Field(default=False, description="also receives Sends of its payload class without a target")
    prompt: str = ""
    model: str | None = Field(default=None, description="a model name of llm.backends; None lets the router choose")
    isolation: Isolation | None = Field(default=None, description="None takes the organism's")
    timeout_s: float | None = Field(
        default=None,
        gt=0,
        validation_alias=AliasChoices("timeout_s", "timeout_seconds"),
        description="of one handler call; None takes supervision's",
    )
    retry: Retry = Retry()
    max_concurrent: int | None = Field(default=None, ge=1, description="None takes max_concurrent_per_agent")
    max_tokens_per_thread: int | None = Field(default=None, ge=1, description="LLM budget of this agent in a thread")
    resources: dict[str, float] = Field(default={}, description="Ray resources its cell needs: where it is placed")
    num_cpus: float = Field(default=0.0, ge=0, description="CPUs that Ray reserves for its cell")
    runtime_env: dict[str, Any] = Field(default={}, description="Ray runtime environment of its cell, e.g. {pip: [x]}")


class StorageSection(Section):
    provider: Literal["sqlite", "memory"] = "sqlite"
    path: str = Field(default=".organism/organism.db", description="of the sqlite file, from the organism's folder")


class Supervision(Section):
    max_restarts: int = Field(default=10, ge=0, description="of a cell within the window, then its listeners err")
    restart_window_s: float = Field(default=60.0, gt=0)
    restart_delay_s: float = Field(default=0.1, ge=0, description="before the first restart; doubles each time")
    max_restart_delay_s: float = Field(default=10.0, ge=0)
    max_deaths: int = Field(default=3, ge=1, description="cells that may die with a message before it is a dead letter")
    handler_timeout_s: float = Field(default=300.0, gt=0, description="for listeners without timeout_s")
    start_timeout_s: float = Field(default=120.0, gt=0, description="how long a reload waits for a new cell to start")
    drain_timeout_s: float = Field(default=30.0, ge=0, description="how long a stop waits for running handlers")


class Limits(Section):
    max_queue: int = Field(default=2_000_000, ge=1, description="waiting messages per listener; more get 429")
    max_slots_per_thread: int = Field(default=10_000, ge=1)
    max_payload_bytes: int = Field(default=1_000_000, ge=1)
    max_body_bytes: int = Field(default=2_000_000, ge=1, description="of an HTTP request or WebSocket message")
    max_state_bytes: int = Field(default=100_000, ge=1, description="of a listener's state in one thread")
    max_outputs: int = Field(default=1000, ge=1, description="messages one handler call may send")
    window: int = Field(default=4096, ge=1, description="messages per listener that the pump holds in memory")
    max_clients: int = Field(default=4000, ge=1, description="open streams per Api replica")
    client_queue: int = Field(default=10_000, ge=1, description="events that wait for one slow client")
    agent_state_interval_s: float = Field(default=0.1, ge=0, description="at most one agent_state each")


class ApiSection(Section):
    host: str = "127.0.0.1"
    replicas: int = Field(default=1, ge=1, le=64)
    heartbeat_s: float = Field(default=10.0, gt=0)
    request_timeout_s: float = Field(default=30.0, gt=0)


class Backend(Section):
    """An LLM endpoint. The key is the name of an environment variable, never the key itself."""

    name: Name | None = None
    provider: Literal["openai", "xai", "ollama", "anthropic", "scripted"] = "openai"
    base_url: str | None = None
    api_key_env: str | None = None
    models: tuple[str, ...] = ()
    rate_limit_tpm: int | None = Field(default=None, ge=1, description="tokens per minute")
    max_concurrent: int | None = Field(default=None, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    replies: tuple[str, ...] = Field(default=(), description="what the scripted provider answers, in turn")


class LlmSection(Section):
    strategy: Literal["failover", "round-robin", "least-loaded"] = "failover"
    retries: int = Field(default=2, ge=0, le=20)
    retry_delay_s: float = Field(default=0.5, ge=0)
    backends: tuple[Backend, ...] = ()
    max_tokens_per_thread: int | None = Field(default=None, ge=1)


class OrganismConfig(Section):
    """The whole of organism.yaml."""

    organism: OrganismSection
    listeners: tuple[Listener, ...] = ()
    max_concurrent_pipelines: int | None = Field(default=None, ge=1, description="threads worked on at once")
    max_concurrent_handlers: int | None = Field(default=None, ge=1, description="handlers at work in the organism")
    max_concurrent_per_agent: int = Field(default=64, ge=1, description="handlers at work in one listener")
    thread_scheduling: Literal["breadth-first", "depth-first"] = "breadth-first"
    max_tokens_per_thread: int | None = Field(default=None, ge=1)
    isolation: Isolation = "actor"
    shared_cells: int = Field(default=2, ge=1, le=1000, description="cells that listeners with isolation: shared use")
    llm: LlmSection = LlmSection()
    storage: StorageSection = StorageSection()
    supervision: Supervision = Supervision()
    limits: Limits = Limits()
    api: ApiSection = ApiSection()

    def listener(self, name: str) -> Listener | None:
        return next((each for each in self.listeners if each.name == name), None)
