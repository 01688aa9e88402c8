"""Cells as the pump holds them: detached, named actors that it starts, finds again and ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import ray
from ray.exceptions import ActorAlreadyExistsError, ActorUnavailableError, RayError, RayTaskError

from organism.encoding import encode_deliveries
from organism.errors import HandlerNotLoaded, OrganismError
from organism.ray_actors.cell_actor import RemoteCell
from organism.ray_actors.pump_name import MAX_CALLS
from organism.ray_actors.reasons import reason_of
from organism.wire import Attached, CellDied, CellRef, CellSpec, Delivery

CELL_PREFIXES = ("agent:", "cell:")
"""Of the names that plan.py gives to cells."""

RETRY_S = 0.1
NAME_TIMEOUT_S = 10.0
FIND_TIMEOUT_S = 10.0


class RayCells:
    """Implements CellHost with detached, named actors."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def start(self, spec: CellSpec) -> CellRef:
        """See CellHost.start."""
        actor = await self._create(spec)
        ref = RayCell(spec.name, spec.incarnation, actor)
        try:
            await ref.open()
        except BaseException:
            await ref.kill()
            raise
        return ref

    async def find(self, name: str) -> CellRef | None:
        """See CellHost.find."""
        try:
            actor: Any = ray.get_actor(name, self._namespace)
            async with asyncio.timeout(FIND_TIMEOUT_S):  # a handler may block it, or it may not be placed yet
                attached = await actor.attach.remote()
        except (ValueError, RayError, TimeoutError):
            return None
        return None if attached is None else RayCell(name, attached.incarnation, actor)

    async def end_others(self, names: Collection[str]) -> None:
        """See CellHost.end_others."""
        for each in ray.util.list_named_actors(all_namespaces=True):
            entry: Any = each
            name = entry["name"]
            if entry["namespace"] == self._namespace and name.startswith(CELL_PREFIXES) and name not in names:
                self._end(name)

    async def _create(self, spec: CellSpec) -> Any:
        options: dict[str, Any] = {
            "name": spec.name,
            "namespace": self._namespace,
            "lifetime": "detached",
            "max_restarts": 0,  # the keeper starts it again: it knows what was in it
            "max_concurrency": MAX_CALLS,
            "num_cpus": sum(each.num_cpus for each in spec.listeners),
            "resources": _largest(spec),
        }
        runtime_env = {key: value for each in spec.listeners for key, value in each.runtime_env.items()}
        if runtime_env:
            options["runtime_env"] = runtime_env
        deadline_s = time.monotonic() + NAME_TIMEOUT_S
        while True:
            try:
                return RemoteCell.options(**options).remote(spec, self._namespace)
            except ActorAlreadyExistsError:  # a dead one for a moment, or a leftover
                if time.monotonic() > deadline_s:
                    raise CellDied(spec.name, "its name is still taken by another actor") from None
                self._end(spec.name)
                await asyncio.sleep(RETRY_S)
            except (ValueError, TypeError, RuntimeError) as error:
                raise CellDied(spec.name, f"Ray takes no actor with these options: {error}") from error

    def _end(self, name: str) -> None:
        with contextlib.suppress(ValueError):  # nobody has the name any more
            ray.kill(ray.get_actor(name, self._namespace))


class RayCell:
    """Implements CellRef."""

    def __init__(self, name: str, incarnation: str, actor: Any) -> None:
        self.name = name
        self.incarnation = incarnation
        self._actor = actor

    async def open(self) -> None:
        """Raises HandlerNotLoaded, or CellDied for all other reasons."""
        with _cell_errors(self.name):
            opened = await self._actor.open.remote()
        if isinstance(opened, HandlerNotLoaded):
            raise opened
        if isinstance(opened, OrganismError):
            raise CellDied(self.name, str(opened))

    async def attach(self) -> Attached:
        return await self._call(self._actor.attach.remote)

    async def deliver(self, batch: list[Delivery]) -> None:
        data = encode_deliveries(batch)
        await self._call(self._actor.deliver.remote, data)

    async def cancel(self, seqs: list[int]) -> None:
        await self._call(self._actor.cancel.remote, seqs)

    async def ping(self) -> None:
        await self._call(self._actor.ping.remote)

    async def wait_died(self) -> str:
        try:
            await self._call(self._actor.watch.remote)
        except CellDied as death:
            return death.reason
        return "ended"

    async def kill(self) -> None:
        ray.kill(self._actor)

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Repeats what a network hiccup prevented: the cell does everything once."""
        while True:
            with _cell_errors(self.name):
                try:
                    return await method(*arguments)
                except ActorUnavailableError:
                    await asyncio.sleep(RETRY_S)
                except RayTaskError:  # it does not work as a cell should
                    await self.kill()
                    raise


@contextlib.contextmanager
def _cell_errors(name: str) -> Iterator[None]:
    """Whatever Ray says of a cell, it costs nobody else anything."""
    try:
        yield
    except RayError as error:
        raise CellDied(name, reason_of(error)) from error


def _largest(spec: CellSpec) -> dict[str, float]:
    resources: dict[str, float] = {}
    for listener in spec.listeners:
        for name, amount in listener.resources.items():
            resources[name] = max(amount, resources.get(name, 0.0))
    return resources
