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
    provider: Literal["sqlite", "memory", "file", "postgres"] = Field(
        default="sqlite", description="file keeps sessions in JSON Lines, and the log in sqlite beside them"
    )
    path: str = Field(default=".organism/organism.db", description="of the sqlite file, from the organism's folder")
    url_env: str = Field(
        default="DATABASE_URL", description="the environment variable with the postgresql:// URL, for postgres"
    )


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
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="names by which clients may call the API (`*.example.org` takes those below it); always those of "
        "loopback; empty: any where there is authentication",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="web pages that may use the API, as https://app.example.org; none but its own without"
    )


class TlsSection(Section):
    """HTTPS by Ray Serve's own proxy, slower than the HAProxy that is used without it."""

    cert: str = Field(min_length=1, description="PEM file with the certificate and its chain, from the folder")
    key: str = Field(min_length=1, description="PEM file with the private key, from the organism's folder")


class JwtSection(Section):
    """Bearer tokens. Give one of secret_env (HS256), jwks_file and jwks_url (RS256, EdDSA)."""

    secret_env: str | None = Field(default=None, description="the environment variable with the HS256 secret")
    jwks_file: str | None = Field(default=None, description="from the organism's folder; read again when it changes")
    jwks_url: str | None = Field(default=None, description="https://…, read again for a key that is not known")
    algorithms: tuple[Literal["HS256", "RS256", "EdDSA"], ...] = Field(
        default=(), description="empty: HS256 with secret_env, else RS256 and EdDSA"
    )
    issuer: str | None = Field(default=None, description="tokens of others are refused")
    audience: str | None = Field(default=None, description="tokens for others are refused")
    leeway_s: float = Field(default=30.0, ge=0, le=600, description="how far clocks may be apart")
    role_claim: str = Field(default="role", description="the claim with viewer, operator or admin")


class PrincipalLimits(Section):
    """What one principal may use, over all API replicas. They do not hold without authentication."""

    requests_per_s: float = Field(default=1000.0, gt=0)
    request_burst: int | None = Field(default=None, ge=1, description="at once, after a rest; None: two seconds' worth")
    commands_per_s: float = Field(
        default=10_000.0, gt=0, description="of WebSocket and Socket.IO; more wait for their turn"
    )
    streams: int = Field(default=1000, ge=1, description="open at once: WebSocket, Socket.IO, server-sent events")
    runs: int | None = Field(default=None, ge=1, description="of sessions, under way at once")
    tokens_per_day: int | None = Field(
        default=None,
        ge=1,
        description="of sessions, of agents in threads that it injected into last, of answers; a day is one of UTC",
    )


class AuthSection(Section):
    """Who gets in. Authentication is on as soon as there is a key (`organism keys add`), or `jwt`, or `required`."""

    required: bool = False
    jwt: JwtSection | None = None
    limits: PrincipalLimits = PrincipalLimits()


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


class WorkspaceSection(Section):
    path: str = Field(default="./workspace", description="from the organism's folder")
    isolate: bool = Field(default=True, description="one directory for each session below it")


class SessionAgent(Section):
    """What a session can be created with: a prompt, a model, tools and limits, under a name."""

    name: Name
    description: str = ""
    prompt: str = "You are a helpful assistant."
    model: str | None = Field(default=None, description="a model name of llm.backends; None lets the router choose")
    tools: tuple[str, ...] = Field(
        default=("files",),
        description="names of tools, `files` for all of the workspace, `mcp.<server>` for all of an MCP server, "
        "or the dotted path of a Python function",
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, description="of one reply of the model")
    max_iterations: int = Field(default=50, ge=1, le=10_000, description="model turns of one run")
    max_tokens_per_run: int | None = Field(default=None, ge=1, description="input and output of one run")
    max_tokens_per_session: int | None = Field(default=None, ge=1)
    context_tokens: int = Field(default=100_000, ge=1000, description="the history is cut to fit")
    timeout_s: float = Field(default=1800.0, gt=0, description="of one run")


class McpServer(Section):
    """An MCP server: a command on this machine (stdio), or a URL (streamable HTTP)."""

    name: Name
    command: tuple[str, ...] = ()
    url: str | None = None
    env: tuple[str, ...] = Field(default=(), description="names of environment variables that the command gets")
    headers_env: dict[str, str] = Field(default={}, description="HTTP header: environment variable with its value")
    timeout_s: float = Field(default=60.0, gt=0, description="of one tool call")


class RunCommand(Section):
    """The run_command tool; without `allow` there is none."""

    allow: tuple[str, ...] = Field(default=(), description="programs that may be run, by name")
    timeout_s: float = Field(default=60.0, gt=0)
    max_output_bytes: int = Field(default=100_000, ge=1)


class FetchUrl(Section):
    """The fetch_url tool; without `allow_hosts` there is none."""

    allow_hosts: tuple[str, ...] = Field(default=(), description="host names; *.example.org takes those below it")
    timeout_s: float = Field(default=30.0, gt=0)
    max_bytes: int = Field(default=1_000_000, ge=1)


class SendToAgent(Section):
    """The send_to_agent tool."""

    agents: tuple[Name, ...] = Field(default=(), description="listeners it may reach; empty for all")
    timeout_s: float = Field(default=300.0, gt=0)


class ToolsSection(Section):
    run_command: RunCommand = RunCommand()
    fetch_url: FetchUrl = FetchUrl()
    send_to_agent: SendToAgent = SendToAgent()
    max_file_bytes: int = Field(default=1_000_000, ge=1, description="of a file that a tool reads or writes")
    max_result_bytes: int = Field(default=100_000, ge=1, description="of what a tool tells the model")


class SessionsSection(Section):
    """Agents as a service. Without `agents` there is one, `assistant`, with the tools of the workspace."""

    agents: tuple[SessionAgent, ...] = ()
    isolation: Isolation = "actor"
    shared_cells: int = Field(default=2, ge=1, le=1000, description="cells that sessions share with isolation: shared")
    warm: int = Field(default=2, ge=0, le=1000, description="started cells that wait, with isolation: actor")
    max_active: int = Field(default=100, ge=1, description="sessions in memory; more get 429")
    idle_timeout_s: float = Field(default=600.0, gt=0, description="then a session is only stored, until it is needed")
    exclusive: bool = Field(default=False, description="one run at a time in the whole organism")
    max_query_bytes: int = Field(default=200_000, ge=1)
    max_reference_bytes: int = Field(default=200_000, ge=1, description="of one @file: or @dir: of a query")
    max_references_bytes: int = Field(default=1_000_000, ge=1, description="of all of a query")
    mcp_servers: tuple[McpServer, ...] = ()
    tools: ToolsSection = ToolsSection()

    @property
    def offered(self) -> tuple[SessionAgent, ...]:
        """The agents to choose from; the first is the default."""
        return self.agents or (SessionAgent(name="assistant", description="A helpful assistant"),)

    def agent(self, name: str) -> SessionAgent | None:
        return next((each for each in self.offered if each.name == name), None)


class GitCredentialSection(Section):
    """For https and ssh URLs of one host. The token is in an environment variable, never in this file."""

    host: str = Field(min_length=1, max_length=253)
    token_env: str = Field(description="the environment variable with the token")
    username: str = Field(default="x-access-token", min_length=1, max_length=200)


class EmbedderSection(Section):
    """What makes vectors of texts. Libraries that another one has made are to be ingested again."""

    provider: Literal["minilm-static", "hashing", "openai"] = Field(
        default="minilm-static",
        description="minilm-static needs no network; openai is any OpenAI-compatible endpoint; hashing is for tests",
    )
    base_url: str | None = Field(default=None, description="of the endpoint, for openai")
    model: str = Field(default="", description="for openai")
    api_key_env: str | None = Field(default=None, description="the environment variable with the key, for openai")
    dim: int | None = Field(default=None, ge=1, le=100_000, description="of the vectors, where the model lets choose")
    timeout_s: float = Field(default=60.0, gt=0, description="of one request")


class LibrarianLimits(Section):
    """What an ingest may take. Larger repositories are refused, larger files skipped and reported."""

    max_files: int = Field(default=200_000, ge=1)
    max_total_bytes: int = Field(default=2_000_000_000, ge=1, description="of all files")
    max_clone_bytes: int = Field(default=2_000_000_000, ge=1, description="of what git fetches")
    fetch_timeout_s: float = Field(default=600.0, gt=0)
    max_jobs: int = Field(default=20, ge=1, description="ingests that run or wait; more get 429")
    max_file_bytes: int = Field(default=1_000_000, ge=1, description="larger files are skipped")
    max_line_chars: int = Field(default=5_000, ge=1, description="files with longer lines are skipped")
    max_path_bytes: int = Field(default=1_024, ge=1, description="files with longer paths are skipped")
    parse_timeout_s: float = Field(default=3.0, gt=0, description="of one file, which is cut as plain text then")


class LibrarianSection(Section):
    """Codebase intelligence: git repositories as libraries that are searched and asked. Changes need a restart."""

    enabled: bool = True
    path: str = Field(
        default=".organism/librarian",
        min_length=1,
        description="where libraries are: a folder, from the organism's, or the URL of a filesystem (s3://bucket/path)",
    )
    local_repositories: bool | None = Field(
        default=None, description="whether file:// URLs and paths may be ingested; None: where api.host is loopback"
    )
    private_hosts: tuple[str, ...] = Field(
        default=(), description="hosts of repositories that may have addresses of a private network"
    )
    credentials: tuple[GitCredentialSection, ...] = ()
    embedder: EmbedderSection = EmbedderSection()
    model: str | None = Field(
        default=None,
        description="writes answers: one of llm.backends, as they are at the start; None lets the router choose",
    )
    workers: int | None = Field(default=None, ge=1, le=1024, description="processes of an ingest; None: one per CPU")
    replicas: int = Field(default=1, ge=1, le=64, description="processes that search")
    limits: LibrarianLimits = LibrarianLimits()


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
    sessions: SessionsSection = SessionsSection()
    workspace: WorkspaceSection = WorkspaceSection()
    librarian: LibrarianSection = LibrarianSection()
    supervision: Supervision = Supervision()
    limits: Limits = Limits()
    api: ApiSection = ApiSection()
    auth: AuthSection = AuthSection()
    tls: TlsSection | None = None

    def listener(self, name: str) -> Listener | None:
        return next((each for each in self.listeners if each.name == name), None)
