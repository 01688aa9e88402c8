"""storage copy: moves everything an organism keeps from one storage provider to another."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import typer
from rich.status import Status

from organism.cli.checking import NotValid, organism_file
from organism.cli.failures import CliFailure, WrongUse
from organism.cli.options import AsJson
from organism.cli.output import Screen, counted
from organism.config import StorageSection
from organism.config_file import environment, load_config
from organism.errors import ConfigError, StorageError
from organism.storage.access.base import AccessStorage
from organism.storage.base import Storage
from organism.storage.copying import (
    Progress,
    access_is_empty,
    copy_access,
    copy_log,
    copy_sessions,
    log_is_empty,
    sessions_are_empty,
)
from organism.storage.opening import log_file, open_access_storage, open_session_storage, open_storage
from organism.storage.sessions.base import SessionStorage

Provider = TypeVar("Provider", Storage, SessionStorage, AccessStorage)

PLACE = (
    "An organism.yaml or its folder, sqlite:PATH, file:PATH (of the log; sessions lie beside it) or postgres:VARIABLE."
)

_NOUNS = {
    "messages": "message", "threads": "thread", "queued": "waiting message", "dead_letters": "dead letter",
    "settings": "setting", "sessions": "session", "events": "session event", "keys": "key",
    "audit_records": "audit record", "token_counts": "daily token count",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Looks after what the organism keeps.")
    group.command()(copy)
    group.callback()(_group)
    app.add_typer(group, name="storage")


def _group() -> None:
    """Looks after what the organism keeps."""


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help=PLACE)],
    target: Annotated[str, typer.Argument(metavar="TO", help=f"{PLACE} It must be empty.")],
    as_json: AsJson = False,
) -> None:
    """Copies a whole store, the log, the sessions, keys, audit log and today's tokens, while the organism is stopped.

    postgres:VARIABLE names the environment variable that holds the postgresql:// URL, so that no password stands on
    the command line. Nothing is overwritten, and FROM stays as it is. Remove what an interrupted copy has left.
    """
    screen = Screen(as_json)
    try:
        places = _place(source), _place(target)
        with screen.working("copying") as status:
            counts = asyncio.run(_copy(*places, _shown_on(status)))
    except ConfigError as error:
        raise NotValid(Path(error.file), list(error.problems)) from error
    except StorageError as error:
        raise CliFailure(str(error), code=error.code) from error
    if as_json:
        screen.json({"copied": counts})
    else:
        told = [counted(number, _NOUNS[name]) for name, number in counts.items() if number]
        screen.line(f"copied {', '.join(told) or 'nothing: it is empty'}")


class Place(NamedTuple):
    """One side of a copy. Paths of `section` count from `folder`; `name` is how it was given."""

    name: str
    section: StorageSection
    folder: Path
    environ: Mapping[str, str]

    @property
    def log_file(self) -> Path | None:
        """The file of the log, for the providers that have one."""
        if self.section.provider == "postgres":
            return None
        return log_file(self.section, self.folder).resolve()


def _place(name: str) -> Place:
    """What FROM or TO means.

    Raises:
        WrongUse, ConfigError
    """
    provider, colon, rest = name.partition(":")
    if colon and provider in ("sqlite", "file") and rest:
        return Place(name, StorageSection(provider=provider, path=rest), Path.cwd(), os.environ)
    if colon and provider == "postgres" and rest:
        if not os.environ.get(rest):
            raise WrongUse(
                "postgres: takes the name of an environment variable that holds the postgresql:// URL; "
                + ("this is the URL itself" if "/" in rest else f"{rest} is not set")
            )
        return Place(name, StorageSection(provider="postgres", url_env=rest), Path.cwd(), os.environ)
    if provider == "memory":
        raise WrongUse("memory holds nothing while the organism is stopped; there is nothing to copy")
    path = organism_file(Path(name))
    section = load_config(path).storage
    if section.provider == "memory":
        raise WrongUse(f"{path} keeps everything in memory, which holds nothing now; there is nothing to copy")
    return Place(name, section, path.parent, environment(path.parent, os.environ))


def _shown_on(status: object) -> Progress:
    def show(name: str, number: int) -> None:
        if isinstance(status, Status):
            status.update(f"copying: {counted(number, _NOUNS[name])}")

    return show


async def _copy(source: Place, target: Place, progress: Progress) -> dict[str, int]:
    _require_store(source)
    if source.log_file is not None and source.log_file == target.log_file:
        return await _copy_beside_log(source, target, progress)
    async with AsyncExitStack() as stack:
        from_log = await stack.enter_async_context(_opened(_log(source)))
        from_sessions = await stack.enter_async_context(_opened(_sessions(source)))
        to_log = await stack.enter_async_context(_opened(_log(target)))
        to_sessions = await stack.enter_async_context(_opened(_sessions(target)))
        if not (await log_is_empty(to_log) and await sessions_are_empty(to_sessions)):
            raise _not_empty(target)
        if _have_one_folder(source, target):  # then they have one file of keys and audit log too
            counts = await copy_log(from_log, to_log, progress)
            return counts | await copy_sessions(from_sessions, to_sessions, progress)
        from_access = await stack.enter_async_context(_opened(_access(source)))
        to_access = await stack.enter_async_context(_opened(_access(target)))
        today = datetime.now(UTC).date().isoformat()
        if not await access_is_empty(to_access, today):
            raise _not_empty(target)
        counts = await copy_log(from_log, to_log, progress)
        counts |= await copy_sessions(from_sessions, to_sessions, progress)
        return counts | await copy_access(from_access, to_access, progress, today)


async def _copy_beside_log(source: Place, target: Place, progress: Progress) -> dict[str, int]:
    """Between providers that keep the log in the same file: only the sessions have to move."""
    if source.section.provider == target.section.provider:
        raise WrongUse(f"{source.name} and {target.name} are the same store")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_opened(_log(source)))  # for its lock: the organism is stopped
        from_sessions = await stack.enter_async_context(_opened(_sessions(source)))
        to_sessions = await stack.enter_async_context(_opened(_sessions(target)))
        if not await sessions_are_empty(to_sessions):
            raise _not_empty(target)
        return await copy_sessions(from_sessions, to_sessions, progress)


def _have_one_folder(source: Place, target: Place) -> bool:
    logs = source.log_file, target.log_file
    return logs[0] is not None and logs[1] is not None and logs[0].parent == logs[1].parent


def _require_store(place: Place) -> None:
    """Opening would make an empty one."""
    if place.log_file is not None and not place.log_file.is_file():
        raise CliFailure(f"{place.name} holds nothing to copy: there is no file {place.log_file}", code="not_found")


def _not_empty(place: Place) -> CliFailure:
    return CliFailure(
        f"{place.name} is not empty, and nothing is overwritten; remove what is there, or name another place",
        code="not_empty",
    )


def _log(place: Place) -> Storage:
    return open_storage(place.section, place.folder, place.environ)


def _sessions(place: Place) -> SessionStorage:
    return open_session_storage(place.section, place.folder, place.environ)


def _access(place: Place) -> AccessStorage:
    return open_access_storage(place.section, place.folder, place.environ)


@asynccontextmanager
async def _opened(provider: Provider) -> AsyncIterator[Provider]:
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()
