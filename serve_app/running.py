"""From a connected Ray to an organism that answers requests, and back: what the launcher does in between.

Import this only after the environment is set: it imports ray.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from organism import ray_actors
from organism.config import OrganismConfig
from organism.errors import OrganismUnreachable
from organism.masking import mask_text
from organism.ray_actors import RayOrganism
from organism.ray_actors.library_search import search_application
from serve_app.access_settings import access_settings
from serve_app.announcement import Dashboard, announcement, command_here, entrance
from serve_app.ingress import (
    ServePlace,
    controller_runs,
    deploy,
    deploy_trouble,
    find_place,
    start_serve,
    this_node_ip,
    undeploy,
)
from serve_app.interrupts import Interrupted, Interrupts
from serve_app.launch_errors import AlreadyRuns, NotReady, RayDied, ServeUnusable
from serve_app.launch_report import EXIT_FAILED, EXIT_INTERRUPTED, tell_ready
from serve_app.leaving import Departure
from serve_app.librarian_actor import end_ingest
from serve_app.librarian_settings import LibrarianSettings, librarian_settings
from serve_app.replica_server import DIRECT_HEADER
from serve_app.run_file import run_file
from serve_app.tls import TlsFiles

READY_WITHIN_S = 60.0
DIRECT_WITHIN_S = 3.0
POLL_S = 0.05
TROUBLE_POLL_S = 1.0
RESTART_POLL_S = 0.2
RAY_POLL_S = 0.5

STOP_SPARE_S = 20.0
"""How much longer than the running handlers may take a stop may take."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be run, and where.

    file: organism.yaml. variables: the environment that Serve's processes do not inherit. head_node: address of the
    node that the proxy runs on. tls: files of HTTPS, None for HTTP. joined: the Ray is not ours, and goes on when we
    leave. run_dir: of our own Ray, None where we have joined one. as_json: how to say what there is to say.
    """

    file: Path
    config: OrganismConfig
    namespace: str
    host: str
    port: int
    tls: TlsFiles | None
    variables: Mapping[str, str]
    head_node: str
    dashboard: Dashboard
    joined: bool
    dead_process: Callable[[], str | None]
    run_dir: Path | None
    as_json: bool


async def run(launch: Launch, interrupts: Interrupts) -> None:
    """Starts the organism, says so, and returns after it was stopped by a signal or through its API.

    Raises:
        Interrupted: by a signal while it started, or by a second one while it stopped.
        RayDied: there is nothing left to stop.
        OrganismError, CannotLaunch: it could not be started.
    """
    running = asyncio.create_task(_run(launch, interrupts))
    watching = asyncio.create_task(_watch_ray(launch.dead_process))
    try:
        await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
        (running if running.done() else watching).result()
    finally:
        running.cancel()
        watching.cancel()
        await asyncio.gather(running, watching, return_exceptions=True)


async def _watch_ray(dead_process: Callable[[], str | None]) -> None:
    while (process := dead_process()) is None:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(RAY_POLL_S)
    raise RayDied(process)


async def _run(launch: Launch, interrupts: Interrupts) -> None:
    await _make_room(launch.namespace)
    place = await asyncio.to_thread(
        find_place, launch.config.organism.name, launch.namespace, launch.host, launch.port, launch.tls
    )
    url = place.url(launch.head_node)
    librarian = librarian_settings(
        launch.config, launch.file.parent.absolute(), launch.host, this_node_ip(), launch.variables
    )
    interrupts.check()
    async with _torn_down(launch, with_serve=launch.joined and not place.found):
        organism = await interrupts.until_first(_start(launch, place, url, librarian))
        with run_file(launch.file.parent, url, launch.namespace, launch.dashboard.url):
            await interrupts.until_first(_announce(launch, url))
            interrupts.notice = ""  # a signal stops it gracefully from now on
            async with _search_deployed(librarian, launch.namespace):
                with suppress(Interrupted):
                    await interrupts.until_first(_until_stopped(organism))
            _say("stopping: running handlers finish, what waits stays in the log", to_stderr=launch.as_json)
            await interrupts.until_second(_stop(organism, launch.config.supervision.drain_timeout_s))


async def _make_room(namespace: str) -> None:
    """Removes an organism that is stopped, and whose launcher was killed before it could do this.

    Raises:
        AlreadyRuns: there is one, and it is not stopped.
    """
    try:
        running = ray_actors.connect(namespace)
    except OrganismUnreachable:
        return
    if (await running.snapshot()).organism["status"] != "stopped":
        raise AlreadyRuns(namespace)
    await ray_actors.shut_down(namespace)
    await end_ingest(namespace)


@asynccontextmanager
async def _torn_down(launch: Launch, with_serve: bool) -> AsyncIterator[None]:
    """Leaves neither actors nor replicas behind, also when the start or the stop was broken off."""
    try:
        yield
    finally:
        departure = Departure(launch.run_dir, launch.dead_process, _status())
        departure.begin()
        if launch.dead_process() is None:
            await _ended("pump and agents", ray_actors.shut_down(launch.namespace))
            await _ended("the API", asyncio.to_thread(undeploy, launch.namespace, with_serve))
            await _ended("the librarian", end_ingest(launch.namespace))  # last: an API replica may have started it
        departure.end_ray()


def _status() -> int:
    """Of the process, should it have to leave before its `main` returns."""
    error = sys.exception()
    if error is None:
        return 0
    return EXIT_INTERRUPTED if isinstance(error, Interrupted) else EXIT_FAILED


async def _ended(what: str, ending: Coroutine[Any, Any, None]) -> None:
    """Ray fails in many ways; one part that does must not keep the next from being ended."""
    try:
        await ending
    except Exception as error:
        reason = mask_text(str(error)).strip().rpartition("\n")[2]
        _say(f"organism: {what} did not end as asked: {reason or type(error).__name__}", to_stderr=True)


async def _start(launch: Launch, place: ServePlace, url: str, librarian: LibrarianSettings | None) -> RayOrganism:
    """Everything that takes time, side by side. The first error ends the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(ray_actors.start_pump(launch.file, launch.namespace, launch.config.storage))
            group.create_task(asyncio.to_thread(start_serve, place, launch.variables))
            deploying = group.create_task(_deploy(launch, place, librarian))
            await _until_ready(url, launch.tls)
            deploying.cancel()
    except BaseExceptionGroup as errors:
        raise _first_of(errors) from errors
    return pump.result()


def _first_of(errors: BaseExceptionGroup) -> BaseException:
    first = errors.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _deploy(launch: Launch, place: ServePlace, librarian: LibrarianSettings | None) -> None:
    access = access_settings(launch.config, launch.file.parent.absolute(), launch.host, os.environ)
    while not await asyncio.to_thread(controller_runs):  # noqa: ASYNC110 (it is in another process)
        await asyncio.sleep(POLL_S)
    await asyncio.to_thread(deploy, launch.config, launch.namespace, place, launch.variables, librarian, access)
    raise ServeUnusable(await _trouble(launch.namespace))


async def _trouble(application: str) -> str:
    """Returns when Serve gives up to start its replicas: why."""
    while (trouble := await asyncio.to_thread(deploy_trouble, application)) is None:  # noqa: ASYNC110
        await asyncio.sleep(TROUBLE_POLL_S)
    return trouble


@asynccontextmanager
async def _search_deployed(librarian: LibrarianSettings | None, namespace: str) -> AsyncIterator[None]:
    """The librarian's search is started meanwhile: nobody waits for it who only wants the organism."""
    deploying = asyncio.create_task(_deploy_search(librarian, namespace)) if librarian else None
    try:
        yield
    finally:
        if deploying is not None:
            deploying.cancel()
            await asyncio.gather(deploying, return_exceptions=True)


async def _deploy_search(librarian: LibrarianSettings, namespace: str) -> None:
    from serve_app.librarian_ingress import deploy_search

    try:
        await asyncio.to_thread(deploy_search, librarian, namespace)
        trouble = await _trouble(search_application(namespace))
    except ServeUnusable as error:
        trouble = str(error)
    print(f"organism: the librarian cannot search: {trouble}", file=sys.stderr, flush=True)  # noqa: T201


async def _until_ready(url: str, tls: TlsFiles | None) -> None:
    """Returns when /ready answers 200, and requests take the short way, if they do so soon (see DirectIngress).

    With TLS there is no short way: Serve's own proxy answers.
    """
    direct_within_s = DIRECT_WITHIN_S if tls is None else 0.0
    started, ready_since, last = time.monotonic(), None, "no answer"
    async with httpx.AsyncClient(timeout=READY_WITHIN_S, trust_env=False, verify=_verify(tls)) as client:
        while (now := time.monotonic()) < started + READY_WITHIN_S:
            try:
                response = await client.get(f"{url}/ready")
            except httpx.TransportError as error:
                last = repr(error)
            else:
                last = f"{response.status_code} {response.text[:200]}"
                if response.status_code == httpx.codes.OK:
                    ready_since = ready_since or now
                    if DIRECT_HEADER in response.headers or now >= ready_since + direct_within_s:
                        return
            await asyncio.sleep(POLL_S)
    raise NotReady(url, READY_WITHIN_S, last)


async def _until_stopped(organism: RayOrganism) -> None:
    """Returns when the organism was stopped by someone else: through its API."""
    while True:
        try:
            return await organism.wait_stopped()
        except OrganismUnreachable:  # the pump is being restarted
            await asyncio.sleep(RESTART_POLL_S)


async def _stop(organism: RayOrganism, drain_timeout_s: float) -> None:
    """Lets running handlers finish. What is not done at the end of the timeout is done after the next start."""
    with suppress(TimeoutError):
        async with asyncio.timeout(drain_timeout_s + STOP_SPARE_S):
            while not await _stopped(organism):  # noqa: ASYNC110 (it is in another process)
                await asyncio.sleep(RESTART_POLL_S)


async def _stopped(organism: RayOrganism) -> bool:
    try:
        await organism.stop()
        await organism.wait_stopped()
    except OrganismUnreachable:  # the pump is being restarted
        return False
    return True


async def _announce(launch: Launch, url: str) -> None:
    if launch.as_json:
        tell_ready(url, launch.namespace, launch.dashboard.url)
    else:
        _say(await _announcement(launch, url))


def _say(text: str, to_stderr: bool = False) -> None:
    print(text, file=sys.stderr if to_stderr else sys.stdout, flush=True)


async def _announcement(launch: Launch, url: str) -> str:
    listener = entrance(launch.config)
    schema = None if listener is None else await _schema(f"{url}/api/v1/agents/{listener.name}/schema", launch.tls)
    trial = launch.tls.cert if launch.tls is not None and launch.config.tls is None else None
    return announcement(launch.config, url, launch.dashboard, schema, command_here(), trial)


def _verify(tls: TlsFiles | None) -> ssl.SSLContext | bool:
    return True if tls is None else tls.client_context()


async def _schema(url: str, tls: TlsFiles | None) -> Mapping[str, Any] | None:
    """A listener's JSON Schema; None when it cannot be had just now (its cell may be starting again)."""
    headers = {"accept": "application/json"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, verify=_verify(tls)) as client:
        try:
            response = await client.get(url)
            return response.raise_for_status().json()
        except httpx.HTTPError:
            return None
