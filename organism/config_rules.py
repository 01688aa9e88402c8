"""What must hold between the parts of organism.yaml, beyond the form of each: pure checks of a parsed config."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from organism.config import ApiSection, JwtSection, LibrarianSection, Listener, OrganismConfig, SessionsSection
from organism.masking import mask_text
from organism.sessions.tools.names import BUILT_IN, is_mcp, is_python_function, mcp_name
from organism.web_names import host_of, is_safe_to_trust, origin_of

Location = tuple[int | str, ...]


class Breach(NamedTuple):
    """A rule that does not hold, where (keys and indexes from the root of the file), and what to do about it."""

    location: Location
    problem: str
    remedy: str


def breaches(config: OrganismConfig) -> Iterator[Breach]:
    """Everything wrong between the parts of `config`, in the order of the file."""
    yield from _repeated_listeners(config.listeners)
    yield from _unknown_peers(config.listeners)
    yield from _ambiguous_broadcasts(config.listeners)
    yield from _unknown_models(config)
    yield from _repeated_backends(config)
    yield from _keys_instead_of_names(config)
    yield from _repeated_in_sessions(config.sessions)
    yield from _unknown_tools(config.sessions)
    yield from _tools_not_configured(config.sessions)
    yield from _libraries_not_served(config)
    yield from _unreachable_agents(config)
    yield from _mcp_servers_of_no_kind(config.sessions)
    yield from _values_instead_of_variables(config.sessions)
    yield from _unusable_in_librarian(config.librarian)
    yield from _hosts_of_no_form(config.api)
    yield from _origins_of_no_form(config.api)
    if config.auth.jwt is not None:
        yield from _unusable_tokens(config.auth.jwt)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy for a name that is not known: the nearest one that is, or `otherwise`."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {nearest[0]!r}?" if nearest else otherwise


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Names for an error text, sorted, and not endless."""
    ordered = sorted(names)
    more = len(ordered) - limit
    return ", ".join(ordered[:limit]) + (f" and {more} more" if more > 0 else "")


def _repeated_listeners(listeners: tuple[Listener, ...]) -> Iterator[Breach]:
    first: dict[str, int] = {}
    for index, listener in enumerate(listeners):
        if listener.name in first:
            problem = f"{listener.name!r} is the name of listeners.{first[listener.name]} already"
            yield Breach(("listeners", index, "name"), problem, "Give each listener a name of its own")
        first.setdefault(listener.name, index)


def _unknown_peers(listeners: tuple[Listener, ...]) -> Iterator[Breach]:
    names = {each.name for each in listeners}
    for index, listener in enumerate(listeners):
        for position, peer in enumerate(listener.peers):
            if peer not in names:
                remedy = did_you_mean(peer, names, f"The listeners are: {listed(names)}")
                yield Breach(("listeners", index, "peers", position), f"no listener is named {peer!r}", remedy)


def _ambiguous_broadcasts(listeners: tuple[Listener, ...]) -> Iterator[Breach]:
    """A broadcast goes by the payload's class name, so two classes of one name would get each other's messages."""
    first: dict[str, tuple[int, str]] = {}
    for index, listener in enumerate(listeners):
        if not listener.broadcast:
            continue
        class_name = listener.payload_class.rpartition(".")[2]
        other, other_class = first.setdefault(class_name, (index, listener.payload_class))
        if other_class != listener.payload_class:
            problem = f"broadcasts of {class_name} cannot tell it from {other_class} of listeners.{other}"
            yield Breach(("listeners", index, "payload_class"), problem, "Rename one of the two classes")


def _unknown_models(config: OrganismConfig) -> Iterator[Breach]:
    backends = config.llm.backends
    if not backends or not all(each.models for each in backends):
        return  # without backends nothing can be asked yet, and a backend without `models` may serve any
    models = {model for each in backends for model in each.models}
    asked: list[tuple[Location, str | None]] = [
        *((("listeners", index, "model"), each.model) for index, each in enumerate(config.listeners)),
        *((("sessions", "agents", index, "model"), each.model) for index, each in enumerate(config.sessions.agents)),
        (("librarian", "model"), config.librarian.model),
    ]
    for location, model in asked:
        if model is not None and model not in models:
            remedy = did_you_mean(model, models, f"The backends serve: {listed(models)}")
            yield Breach(location, f"no backend serves the model {model!r}", remedy)


def _repeated_backends(config: OrganismConfig) -> Iterator[Breach]:
    first: dict[str, int] = {}
    for index, backend in enumerate(config.llm.backends):
        if backend.name is None:
            continue
        if backend.name in first:
            problem = f"{backend.name!r} is the name of llm.backends.{first[backend.name]} already"
            yield Breach(("llm", "backends", index, "name"), problem, "Give each backend a name of its own, or none")
        first.setdefault(backend.name, index)


def _keys_instead_of_names(config: OrganismConfig) -> Iterator[Breach]:
    for index, backend in enumerate(config.llm.backends):
        name = backend.api_key_env
        if name is not None and not is_variable_name(name):
            remedy = "Put the key into .env (XAI_API_KEY=…) and write the variable's name here (XAI_API_KEY)"
            yield Breach(("llm", "backends", index, "api_key_env"), "is no name of an environment variable", remedy)


def _repeated_in_sessions(sessions: SessionsSection) -> Iterator[Breach]:
    for key, named in (("agents", sessions.agents), ("mcp_servers", sessions.mcp_servers)):
        first: dict[str, int] = {}
        for index, each in enumerate(named):
            if each.name in first:
                problem = f"{each.name!r} is the name of sessions.{key}.{first[each.name]} already"
                yield Breach(("sessions", key, index, "name"), problem, "Give each a name of its own")
            first.setdefault(each.name, index)


def _named_tools(sessions: SessionsSection) -> Iterator[tuple[Location, str]]:
    for index, agent in enumerate(sessions.agents):
        for position, name in enumerate(agent.tools):
            yield ("sessions", "agents", index, "tools", position), name


def _unknown_tools(sessions: SessionsSection) -> Iterator[Breach]:
    servers = {each.name for each in sessions.mcp_servers}
    known = {*BUILT_IN, *(f"mcp.{each}" for each in servers)}
    for location, name in _named_tools(sessions):
        if is_mcp(name) and mcp_name(name, servers) is None:
            remedy = did_you_mean(name, known, f"sessions.mcp_servers has: {listed(servers) or 'none'}")
            yield Breach(location, f"{name!r} leads to no MCP server", remedy)
        elif is_python_function(name) and not all(part.isidentifier() for part in name.split(".")):
            yield Breach(location, f"{name!r} is no dotted path", "Write module.function, as in tools.weather")
        elif not is_mcp(name) and not is_python_function(name) and name not in known:
            otherwise = f"There are: {listed(known)}; a function of yours is written module.function"
            yield Breach(location, f"there is no tool {name!r}", did_you_mean(name, known, otherwise))


def _tools_not_configured(sessions: SessionsSection) -> Iterator[Breach]:
    tools = sessions.tools
    lacking = {
        "run_command": () if tools.run_command.allow else ("allow", "programs, such as [git, ls]"),
        "fetch_url": () if tools.fetch_url.allow_hosts else ("allow_hosts", "host names, such as ['*.example.org']"),
    }
    for location, name in _named_tools(sessions):
        if missing := lacking.get(name):
            field, example = missing
            problem = f"{name} is off, as sessions.tools.{name}.{field} is empty"
            yield Breach(location, problem, f"List there the {example} that it may use, or leave the tool out")


def _libraries_not_served(config: OrganismConfig) -> Iterator[Breach]:
    if config.librarian.enabled:
        return
    for location, name in _named_tools(config.sessions):
        if name == "search_library":
            yield Breach(location, "search_library is off, as librarian.enabled is", "Enable it, or leave the tool out")


def _unreachable_agents(config: OrganismConfig) -> Iterator[Breach]:
    names = {each.name for each in config.listeners}
    for index, name in enumerate(config.sessions.tools.send_to_agent.agents):
        if name not in names:
            remedy = did_you_mean(name, names, f"The listeners are: {listed(names) or 'none'}")
            location = ("sessions", "tools", "send_to_agent", "agents", index)
            yield Breach(location, f"no listener is named {name!r}", remedy)


def _mcp_servers_of_no_kind(sessions: SessionsSection) -> Iterator[Breach]:
    for index, server in enumerate(sessions.mcp_servers):
        location = ("sessions", "mcp_servers", index)
        if bool(server.command) == (server.url is not None):
            problem = "has both command and url" if server.command else "has neither command nor url"
            yield Breach(location, problem, "Write `command: [program, argument]`, or `url: https://…`")
        if server.url is not None and not server.url.startswith(("http://", "https://")):
            yield Breach((*location, "url"), "is no URL of http or https", "Write it whole: https://host/mcp")


def _values_instead_of_variables(sessions: SessionsSection) -> Iterator[Breach]:
    for index, server in enumerate(sessions.mcp_servers):
        named: list[tuple[Location, str]] = [
            *((("env", position), name) for position, name in enumerate(server.env)),
            *((("headers_env", header), name) for header, name in server.headers_env.items()),
        ]
        for location, name in named:
            if not is_variable_name(name):
                remedy = "Put the value into .env (NAME=…) and write the variable's name here (NAME)"
                problem = "is no name of an environment variable"
                yield Breach(("sessions", "mcp_servers", index, *location), problem, remedy)


def _unusable_in_librarian(librarian: LibrarianSection) -> Iterator[Breach]:
    named: list[tuple[Location, str | None]] = [
        *((("credentials", index, "token_env"), each.token_env) for index, each in enumerate(librarian.credentials)),
        (("embedder", "api_key_env"), librarian.embedder.api_key_env),
    ]
    for location, name in named:
        if name is not None and not is_variable_name(name):
            remedy = "Put the value into .env (GIT_TOKEN=…) and write the variable's name here (GIT_TOKEN)"
            yield Breach(("librarian", *location), "is no name of an environment variable", remedy)
    if librarian.embedder.provider == "openai" and not librarian.embedder.model:
        remedy = "Write the model's name, such as text-embedding-3-small"
        yield Breach(("librarian", "embedder", "model"), "the openai embedder needs one", remedy)


def _hosts_of_no_form(api: ApiSection) -> Iterator[Breach]:
    for index, text in enumerate(api.allowed_hosts):
        host = host_of(text)
        if host == text.lower():
            continue
        remedy = f"Write {host}" if host else "Write one such as example.org, *.example.org, 192.0.2.7 or 2001:db8::1"
        if text == "*":
            remedy = "Leave allowed_hosts empty: then any name will do, where there is authentication"
        problem = f"{mask_text(text)!r} is no name or address alone"
        yield Breach(("api", "allowed_hosts", index), problem, remedy)


def _origins_of_no_form(api: ApiSection) -> Iterator[Breach]:
    for index, text in enumerate(api.cors_origins):
        origin = origin_of(text)
        if text in ("*", "null"):
            whose = "every web page there is" if text == "*" else "pages of anybody, as sandboxed ones are all `null`"
            problem, remedy = f"{text!r} would let in {whose}", "List the pages that may, as https://app.example.org"
        elif origin == text:
            continue
        else:
            problem = f"{mask_text(text)!r} is no origin as browsers send it"
            remedy = f"Write {origin}" if origin else "Write scheme and host, and no more, as https://app.example.org"
        yield Breach(("api", "cors_origins", index), problem, remedy)


def _unusable_tokens(jwt: JwtSection) -> Iterator[Breach]:
    place: Location = ("auth", "jwt")
    sources = [each for each in (jwt.secret_env, jwt.jwks_file, jwt.jwks_url) if each is not None]
    if len(sources) != 1:
        yield Breach(place, f"has {len(sources)} sources of keys", "Give one of secret_env, jwks_file and jwks_url")
    for index, algorithm in enumerate(jwt.algorithms):
        if len(sources) == 1 and (algorithm == "HS256") != (jwt.secret_env is not None):
            remedy = "HS256 goes with secret_env, RS256 and EdDSA with jwks_file and jwks_url"
            yield Breach((*place, "algorithms", index), f"{algorithm} does not fit the keys", remedy)
    if jwt.secret_env is not None and not is_variable_name(jwt.secret_env):
        remedy = "Put the secret into .env (JWT_SECRET=…) and write the variable's name here (JWT_SECRET)"
        yield Breach((*place, "secret_env"), "is no name of an environment variable", remedy)
    if jwt.jwks_url is not None and not is_safe_to_trust(jwt.jwks_url):
        problem = f"anyone on the way could change the keys of {mask_text(jwt.jwks_url)!r}"
        yield Breach((*place, "jwks_url"), problem, "Give an https:// URL; http:// is for loopback only")


def is_variable_name(text: str) -> bool:
    """Whether it can name an environment variable, and is not a key that was written in its place."""
    return text.isidentifier() and mask_text(text) == text
