"""Every error of the package: it survives the way between processes, says what to do, and is known to this test."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import organism
from organism import errors
from organism.errors import (
    AccessRefused,
    AgentNotFound,
    BundleError,
    ConfigError,
    ConfigErrors,
    DeadLetterNotFound,
    FileNotInWorkspace,
    Forbidden,
    HandlerError,
    HandlerNotLoaded,
    InvalidPayload,
    InvalidQuery,
    KeyExists,
    KeyNotFound,
    ModelError,
    NotFound,
    OrganismError,
    OrganismUnreachable,
    Overloaded,
    PathRefused,
    QueueFull,
    RateLimited,
    Refused,
    RunInterrupted,
    RunTimeout,
    ServerExclusive,
    SessionAgentNotFound,
    SessionBusy,
    SessionNotFound,
    Stopping,
    StorageError,
    StorageLocked,
    StorageUnavailable,
    StorageVersionError,
    ThreadFull,
    ThreadKilled,
    ThreadNotFound,
    TokensSpent,
    TooManyRuns,
    TooManySessions,
    Unauthenticated,
)
from organism.llm import base as llm
from organism.sessions.wire import SessionNotHere
from organism.storage.sqlite_client import ProcessEnded
from organism.wire import CellDied

CONFIG_ERROR = ConfigError("organism.yaml", 3, "listeners.0.handler", "is missing", "Add it")

EXAMPLES: list[Exception] = [
    OrganismError("text"),
    CONFIG_ERROR,
    ConfigError("organism.yaml", None, "file", "does not exist", "Write it"),
    ConfigErrors((CONFIG_ERROR, ConfigError("organism.yaml", 9, "llm", "is no mapping", "Indent it"))),
    BundleError("/folder", "is too large", "Move files out of it"),
    NotFound("text"),
    AgentNotFound("greeter"),
    ThreadNotFound("thread"),
    DeadLetterNotFound("message"),
    Refused("text"),
    InvalidPayload("greeter", "Greeting", (("name", "Field required"), ("", "is nested too deep"))),
    ThreadKilled("thread"),
    ThreadFull("thread", 10),
    Stopping(),
    Overloaded("text"),
    QueueFull("greeter", 100, 1.5),
    AccessRefused("x"),
    Unauthenticated("this key is unknown"),
    Forbidden("this needs the role admin; key:ci is viewer"),
    KeyNotFound("ci"),
    KeyExists("ci"),
    RateLimited("requests per second", 5, "auth.limits.requests_per_s", 0.2),
    TooManyRuns(3),
    TokensSpent(1000, 60.0),
    StorageError("reason"),
    StorageUnavailable("disk full"),
    StorageLocked("organism.db"),
    StorageVersionError("schema 9"),
    HandlerError("text"),
    HandlerNotLoaded("greeter", "handlers.greet", "no such module"),
    OrganismUnreachable("no pump"),
    ModelError("text"),
    ProcessEnded("the process that writes organism.db ended"),
    CellDied("agent:greeter", "kill -9"),
    SessionNotFound("id"),
    FileNotInWorkspace("a/b"),
    SessionBusy("id"),
    ServerExclusive("other"),
    SessionAgentNotFound("nobody", ("assistant", "coder")),
    PathRefused("../x", "it leaves the workspace"),
    InvalidQuery("query.0.type", "is unknown"),
    TooManySessions(100, 1.5),
    RunInterrupted("id"),
    RunTimeout(1800.0),
    SessionNotHere("id"),
]


def subclasses(of: type[Exception]) -> Iterator[type[Exception]]:
    """All of them that the package defines."""
    yield of
    for each in of.__subclasses__():
        if each.__module__.startswith("organism."):
            yield from subclasses(each)


def import_everything() -> None:
    """Errors that are defined beside what raises them are only known once that is imported."""
    for module in pkgutil.walk_packages(organism.__path__, "organism."):
        if "ray" not in module.name and "starter" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_an_error_is_the_same_on_the_other_side(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))
    if not isinstance(error, ConfigErrors):  # which holds other errors, and those are equal to themselves only
        assert (copy.args, vars(copy)) == (error.args, vars(error))


def test_the_problems_of_a_broken_file_survive_too():
    error = next(each for each in EXAMPLES if isinstance(each, ConfigErrors))
    copy = pickle.loads(pickle.dumps(error))
    assert [str(each) for each in copy.problems] == [str(each) for each in error.problems]
    assert (copy.line, copy.field) == (3, "listeners.0.handler")
    assert str(copy).splitlines() == [str(each) for each in error.problems]


def test_every_error_of_this_package_has_an_example_here_or_beside_its_seam():
    import_everything()
    tested = {type(each) for each in EXAMPLES}
    of_the_llm_seam = {each for each in subclasses(ModelError) if each.__module__ == llm.__name__}
    missing = set(subclasses(OrganismError)) - tested - of_the_llm_seam
    assert missing == set()


def test_every_error_has_a_code_and_a_docstring():
    import_everything()
    for kind in subclasses(OrganismError):
        assert kind.code == kind.code.lower().strip()
        assert kind.__doc__


def test_the_tree_in_the_docstring_names_every_error_of_the_file():
    names = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert {name for name in names if name not in (errors.__doc__ or "")} == set()


@pytest.mark.parametrize("error", [each for each in EXAMPLES if type(each).__str__ is not OrganismError.__str__])
def test_an_error_says_what_happened_in_words(error):
    text = str(error)
    assert " " in text
    assert not text.startswith("(")


def test_what_the_package_exports_is_there():
    assert sorted(organism.__all__) == organism.__all__
    assert all(hasattr(organism, name) for name in organism.__all__)
