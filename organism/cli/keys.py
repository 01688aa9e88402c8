"""keys: who gets in. They are written to the storage, whether the organism runs or not; it sees them in a second."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from organism.access.audit import AuditRecord, Outcome
from organism.access.keys import ApiKey, IssuedKey, NewKey, issue
from organism.access.principal import RoleName
from organism.cli.checking import NotValid, organism_file
from organism.cli.client import read_run_file
from organism.cli.failures import CliFailure, ExitCode, WrongUse
from organism.cli.key_options import new_key
from organism.cli.options import AsJson
from organism.cli.output import Screen, age, printable
from organism.cli.own_launcher import is_own_launcher
from organism.config import OrganismConfig
from organism.config_file import CONFIG_NAME, environment, load_config
from organism.errors import ConfigError, KeyExists, KeyNotFound, StorageError
from organism.messages import iso_timestamp, now_ms
from organism.storage.access.base import AccessStorage
from organism.storage.opening import open_access_storage

T = TypeVar("T")

File = Annotated[Path, typer.Option("--file", help="organism.yaml, or its folder.", metavar="FILE")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is for, such as ci or the name of a person.")]

KNOWN_WITHIN_S = 1.3
"""How long a running organism takes at most until it knows a new key."""

FIRST = """from now on nobody gets in without a key, and this is the first one
all commands take it from ORGANISM_API_KEY"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True)
    group.callback()(_group)
    group.command()(add)
    group.command("list")(list_keys)
    group.command()(revoke)
    app.add_typer(group, name="keys")


def _group() -> None:
    """Makes, lists and revokes API keys; in the organism's folder, whether it runs or not.

    With the first key authentication begins, and it stays on. viewer reads; operator also injects, pauses, resumes,
    kills, requeues and has sessions of its own; admin also reloads, stops, makes keys, changes libraries and sees
    everyone's sessions.
    """


def add(
    name: Name,
    role: Annotated[RoleName, typer.Option(help="viewer reads, operator steers, admin does everything.")],
    agents: Annotated[str | None, typer.Option(help="Bind it to these agents, as a,b; * for all.")] = None,
    libraries: Annotated[str | None, typer.Option(help="Bind it to these libraries, as a,b; * for all.")] = None,
    sessions: Annotated[
        str | None, typer.Option(help="Bind it to these sessions, as id,id; * for all of its own.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="30d, 12h, or a day as 2027-01-01; never otherwise.")] = None,
    file: File = Path(CONFIG_NAME),
    as_json: AsJson = False,
) -> None:
    """Makes a key and prints it, once: only a hash of it is kept. On stdout is the key alone.

    A key that is bound to something reaches nothing else: one for agents has no sessions and no libraries.

    KEY=$(organism keys add ci --role operator --expires 90d)
    """
    screen = Screen(as_json)
    place = _place(file)
    new = new_key(name, role, agents, libraries, sessions, expires, datetime.now(UTC))
    issued, is_first = _run(place, lambda storage: _add(storage, new))
    if as_json:
        screen.json({**issued.key.to_api(now_ms()), "key": issued.text})
    else:
        sys.stdout.write(f"{issued.text}\n")
        sys.stdout.flush()
    _tell_added(screen, new, place, is_first)
    if (running := read_run_file(place.path.parent)) and is_own_launcher(running.pid):
        time.sleep(KNOWN_WITHIN_S)  # so that the next command can use it


def _tell_added(screen: Screen, new: NewKey, place: Place, is_first: bool) -> None:
    screen.notice(f"the key {new.name} is shown this once, and kept nowhere; `organism keys revoke {new.name}` ends it")
    unknown = _agents_of(new) - {listener.name for listener in place.config.listeners}
    if unknown:
        screen.notice(f"{place.path} has no agent {', '.join(sorted(unknown))} at present")
    if is_first and not place.config.auth.required and place.config.auth.jwt is None:
        screen.notice(FIRST)


def _agents_of(new: NewKey) -> frozenset[str]:
    return frozenset() if new.bounds is None else new.bounds.agents - {"*"}


def list_keys(file: File = Path(CONFIG_NAME), as_json: AsJson = False) -> None:
    """Lists the keys, the oldest first, also those that are revoked; never the keys themselves."""
    screen = Screen(as_json)
    keys = _run(_place(file), lambda storage: storage.keys())
    if as_json:
        screen.json({"keys": [key.to_api(now_ms()) for key in keys], "count": len(keys)})
        return
    screen.table(("name", "role", "bound to", "created", "expires", "last used", "state"), map(_row, keys))
    if not keys:
        screen.notice("there are none; `organism keys add NAME --role admin` makes one, and then nobody else gets in")


def revoke(name: Name, file: File = Path(CONFIG_NAME), as_json: AsJson = False) -> None:
    """Ends a key, by its name or id, and what is connected with it; within a second or two."""
    screen = Screen(as_json)
    key, left = _run(_place(file), lambda storage: _revoke(storage, name))
    if as_json:
        screen.json(key.to_api(now_ms()))
    else:
        screen.line(f"the key {printable(key.name)} is revoked")
    if not left:
        screen.notice(
            "no key is left, and authentication stays on; `organism keys add NAME --role admin` makes another one"
        )


class Place(NamedTuple):
    """Where the keys of one organism are."""

    path: Path
    config: OrganismConfig
    storage: AccessStorage


def _place(file: Path) -> Place:
    """Raises: NotValid, WrongUse."""
    path = organism_file(file)
    try:
        config = load_config(path)
        if config.storage.provider == "memory":
            raise WrongUse(
                f"{path} keeps everything in memory, so a key made here would be gone at once; set storage.provider "
                "to sqlite, file or postgres, or make keys of the running organism with POST /api/v1/keys"
            )
        environ = environment(path.parent, os.environ)
        return Place(path, config, open_access_storage(config.storage, path.parent, environ))
    except ConfigError as error:
        raise NotValid(path, list(error.problems)) from error


def _run(place: Place, work: Callable[[AccessStorage], Coroutine[Any, Any, T]]) -> T:
    try:
        return asyncio.run(_work(place.storage, work))
    except StorageError as error:
        raise CliFailure(str(error), code=error.code) from error
    except (KeyExists, KeyNotFound) as error:
        raise CliFailure(str(error), ExitCode.REFUSED, error.code) from error


async def _work(storage: AccessStorage, work: Callable[[AccessStorage], Coroutine[Any, Any, T]]) -> T:
    try:
        await storage.open()
        return await work(storage)
    finally:
        await storage.close()


async def _add(storage: AccessStorage, new: NewKey) -> tuple[IssuedKey, bool]:
    """The key, and whether it is the first that there ever was."""
    async with _audited(storage, "key.add", new.name, _detail(new)):
        is_first = not await storage.keys()
        issued = issue(new, now_ms())
        await storage.add_key(issued.key)
    return issued, is_first


async def _revoke(storage: AccessStorage, name: str) -> tuple[ApiKey, int]:
    """The key, and how many are left that may be used."""
    async with _audited(storage, "key.revoke", name):
        now = now_ms()
        usable = [key for key in await storage.keys() if key.revoked_at is None]
        key = next((each for each in usable if name in (each.name, each.id)), None)
        if key is None:
            raise KeyNotFound(name)
        await storage.revoke_key(key.id, now)
    return key._replace(revoked_at=now), sum(each.is_usable(now) for each in usable if each.id != key.id)


@asynccontextmanager
async def _audited(storage: AccessStorage, action: str, target: str, detail: str = "") -> AsyncGenerator[None]:
    """What happens inside stands in the audit log then, also where it was refused."""
    outcome: Outcome = "ok"
    try:
        yield
    except (KeyExists, KeyNotFound) as error:
        outcome, detail = "refused", str(error)
        raise
    finally:
        if not isinstance(sys.exception(), StorageError):  # it could not be written there either
            await storage.append_audit([AuditRecord(now_ms(), _who(), action, target, "local", outcome, detail)])


def _who() -> str:
    """The user by the number that the system knows, not by a variable that anybody can set."""
    uid = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"cli:{uid}"


def _detail(new: NewKey) -> str:
    expires = "" if new.expires_at is None else f"; expires {iso_timestamp(new.expires_at)}"
    bound = "" if new.bounds is None else f"; bound to {_bound(new)}"
    return f"role {new.role.label}{bound}{expires}"


def _bound(key: NewKey | ApiKey) -> str:
    if key.bounds is None:
        return ""
    kinds = ((kind, names) for kind, names in key.bounds._asdict().items() if names)
    return "; ".join(f"{kind} {', '.join(sorted(names))}" for kind, names in kinds)


def _row(key: ApiKey) -> tuple[object, ...]:
    expires = "never" if key.expires_at is None else iso_timestamp(key.expires_at)[:16].replace("T", " ")
    used = "never" if key.last_used_at is None else age(iso_timestamp(key.last_used_at))
    return (
        key.name,
        key.role.label,
        _bound(key),
        age(iso_timestamp(key.created_at)),
        expires,
        used,
        key.state(now_ms()),
    )
