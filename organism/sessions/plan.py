"""From what is active to the session cells that serve it, and the digest that tells whether a reload replaces them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

from organism.config import Listener, OrganismConfig
from organism.messages import new_id
from organism.plan import Organism
from organism.sessions.wire import SessionCellSpec
from organism.source_digest import SourceDigests

SHARED = "sessions:"
ALONE = "session:"
"""What names of session cells begin with: shared ones, and those of one session each."""

PREFIXES = (SHARED, ALONE)
SEND_TO_AGENT = "send_to_agent"
MCP = "mcp."

_PUMPS_OWN = {"shared_cells", "warm", "max_active", "exclusive"}
"""Of the section: what no cell looks at."""


def session_definition(organism: Organism, folder: Path) -> str:
    """A digest of everything that a running session cell has taken in."""
    config = organism.config
    sources = SourceDigests(folder)
    own_tools = {name for agent in config.sessions.offered for name in agent.tools if is_own_tool(name)}
    parts = (
        config.sessions.model_dump_json(exclude=_PUMPS_OWN),
        config.llm.model_dump_json(),
        config.workspace.model_dump_json(),
        sorted(organism.environ.items()),
        sources.of_names(own_tools),
        [
            (each.name, each.description, each.payload_class, sources.of_names({each.payload_class}))
            for each in reachable(config)
        ],
    )
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def is_own_tool(name: str) -> bool:
    """Whether a name of `tools:` is the dotted path of a Python function in the organism's folder."""
    return "." in name and not name.startswith(MCP)


def reachable(config: OrganismConfig) -> tuple[Listener, ...]:
    """The listeners whose form a session cell has to know: those that some agent of it may send to."""
    if not any(SEND_TO_AGENT in agent.tools for agent in config.sessions.offered):
        return ()
    allowed = config.sessions.tools.send_to_agent.agents
    return tuple(each for each in config.listeners if not allowed or each.name in allowed)


def session_cell_spec(name: str, definition: str, organism: Organism, workspace_root: Path) -> SessionCellSpec:
    """A new incarnation of a session cell."""
    config = organism.config
    return SessionCellSpec(
        name=name,
        incarnation=new_id(),
        definition=definition,
        sessions=config.sessions,
        llm=config.llm,
        environ=organism.environ,
        bundle_digest=organism.bundle.digest,
        bundle=organism.bundle.content,
        listeners=reachable(config),
        workspace=config.workspace,
        workspace_root=str(workspace_root),
    )
