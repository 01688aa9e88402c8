"""What must hold between the parts of organism.yaml, beyond the form of each: pure checks of a parsed config."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from organism.config import Listener, OrganismConfig
from organism.masking import mask_text

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
    for index, listener in enumerate(config.listeners):
        if listener.model is not None and listener.model not in models:
            remedy = did_you_mean(listener.model, models, f"The backends serve: {listed(models)}")
            yield Breach(("listeners", index, "model"), f"no backend serves the model {listener.model!r}", remedy)


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
        if name is not None and (not name.isidentifier() or mask_text(name) != name):
            remedy = "Put the key into .env (XAI_API_KEY=…) and write the variable's name here (XAI_API_KEY)"
            yield Breach(("llm", "backends", index, "api_key_env"), "is no name of an environment variable", remedy)
