"""The launcher: `python -m serve_app ORGANISM_YAML` runs an organism in the foreground until it is stopped.

It starts a Ray of its own on this machine, or joins one (--address), then the pump and the API side by side.
Ray reads its environment when it is imported, so everything that imports it is imported in functions here.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from organism.access.named import require_usable
from organism.config import OrganismConfig
from organism.config_file import environment, load_config
from organism.errors import OrganismError
from organism.masked_log import mask_logs
from serve_app.admission import require_admission
from serve_app.announcement import Dashboard
from serve_app.interrupts import Interrupted, Interrupts
from serve_app.launch_errors import CannotLaunch, RayDied, RayUnusable
from serve_app.launch_options import LaunchOptions, parse_options
from serve_app.launch_report import EXIT_FAILED, EXIT_INTERRUPTED, tell
from serve_app.leaving import RUN_MARK, adopt_orphans, end_what_is_left, leave_at_once
from serve_app.ports import answers, api_port
from serve_app.ray_environment import local_variables, serve_variables
from serve_app.run_file import was_left_behind
from serve_app.tls import TlsFiles, configured_files, trial_files
from serve_app.worker_output import WorkerOutput

JOIN_TIMEOUT_S = 5.0

KILLED_GONE_S = 15.0
"""How long the processes of a launcher that was killed may still hold the port; 2 to 5 s as a rule."""

TEMP = Path("/tmp")
"""Not $TMPDIR, which may be long: paths of Unix sockets bear about 100 characters."""


class RayPlace(NamedTuple):
    """Where Ray runs: the address of its head node, and its dashboard."""

    head_node: str
    dashboard: Dashboard


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs an organism; returns the exit status: 0 after a stop, 1 when it could not be started, 130 after a signal
    that ended the start, or a second one that ended the stop."""
    with Interrupts("organism: interrupted; what has been started is ended") as interrupts:
        options = parse_options(arguments)
        try:
            config = load_config(options.file)
            os.environ.update(environment(options.folder, os.environ))
            require_usable(config, options.file, os.environ)
            with _run_dir() as run_dir:
                _run(options, config, run_dir, interrupts)
        except (OrganismError, CannotLaunch) as error:
            tell(error, options.as_json)
            return EXIT_FAILED
        except Interrupted:
            return EXIT_INTERRUPTED
        return 0


@contextmanager
def _run_dir() -> Iterator[Path]:
    """A folder for this run; when the context ends, so has everything that was started in it."""
    with tempfile.TemporaryDirectory(prefix="org-", dir=TEMP, ignore_cleanup_errors=True) as name:
        try:
            yield Path(name)
        finally:
            end_what_is_left(Path(name))


def _run(options: LaunchOptions, config: OrganismConfig, run_dir: Path, interrupts: Interrupts) -> None:
    host = options.host or config.api.host
    asyncio.run(require_admission(config, options.file, host, os.environ))
    tls = _tls_files(options, config, host)
    port = config.organism.port if options.port is None else options.port
    joined = options.address is not None
    if port == 0 or not joined:
        patience_s = KILLED_GONE_S if was_left_behind(options.folder) else 0.0
        port = api_port(host, port, patience_s)
    variables = serve_variables(config.limits.max_clients * config.api.replicas, with_tls=tls is not None)
    own_ray = {} if joined else local_variables(run_dir)
    os.environ.update({**variables, **own_ray, **os.environ})  # what the operator set stays as it is
    os.environ[RUN_MARK] = str(run_dir)  # but for this, which is another one where an organism starts an organism
    if tls is not None:
        os.environ.update(variables)  # but for this: HAProxy would answer in clear text
    namespace = options.namespace or f"organism-{config.organism.name}"
    interrupts.check()
    with _ray(options, namespace, run_dir, interrupts) as ray_place:
        interrupts.check()
        from serve_app.running import Launch, run

        interrupts.check()
        launch = Launch(
            file=options.file,
            config=config,
            namespace=namespace,
            host=host,
            port=port,
            tls=tls,
            variables=variables if joined else {},
            head_node=ray_place.head_node,
            dashboard=ray_place.dashboard,
            joined=joined,
            dead_process=(lambda: None) if joined else _dead_process,
            run_dir=None if joined else run_dir,
            as_json=options.as_json,
        )
        asyncio.run(run(launch, interrupts))


def _tls_files(options: LaunchOptions, config: OrganismConfig, host: str) -> TlsFiles | None:
    """The files of organism.yaml count more than a trial."""
    if config.tls is not None:
        return configured_files(config.tls, options.folder)
    return trial_files(options.folder, host) if options.tls_self_signed else None


@contextmanager
def _ray(options: LaunchOptions, namespace: str, run_dir: Path, interrupts: Interrupts) -> Iterator[RayPlace]:
    """Starts a Ray on this machine, or joins the one at the address; ended, or left, at the end of the context.

    In the main thread: the processes of Ray end with the thread that started them.
    """
    import ray

    _keep_our_signals(interrupts)
    address = options.address
    if address and address != "auto" and (reason := answers(address, JOIN_TIMEOUT_S)):
        raise RayUnusable(address, reason)  # Ray itself tries for two minutes
    preload = threading.Thread(target=importlib.import_module, args=("serve_app.app",), daemon=True)
    preload.start()  # Ray is mostly waited for; this shares nothing with what it imports
    try:
        context: Any = ray.init(
            address=address or "local",
            namespace=namespace,
            logging_level=logging.ERROR,
            log_to_driver=True,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        ray.shutdown()
        raise RayUnusable(address, str(error).strip().partition("\n")[0]) from error
    try:
        preload.join()
        _show_worker_output()
        yield _place_of(address, context)
    except RayDied as error:
        tell(error, options.as_json)
        leave_at_once(run_dir, EXIT_FAILED)  # ray.shutdown() would wait for it
    finally:
        adopt_orphans()  # it gives its processes a second each, and then leaves their children behind
        ray.shutdown()


def _keep_our_signals(interrupts: Interrupts) -> None:
    """Ray sets handlers of its own for SIGTERM: one in Python that raises SystemExit wherever the start has come to,
    and one in C++, when it connects, that shows a stack and aborts."""
    from ray._private import utils, worker

    connect: Any = worker.connect

    def connect_with_ours(*args: Any, **options: Any) -> Any:
        with interrupts.held():
            return connect(*args, **options)

    worker.connect = connect_with_ours
    utils.set_sigterm_handler = lambda sigterm_handler: None


def _dead_process() -> str | None:
    """Which of the processes that our Ray cannot do without has ended."""
    from ray._private import worker

    node: Any = worker._global_node
    dead = {kind for kind, _ in node.dead_processes()} if node else set()
    return next((kind for kind in ("raylet", "gcs_server") if kind in dead), None)


def _show_worker_output() -> None:
    """Ray's own way shows everything that Serve's processes say, and, once Serve runs, what other jobs print."""
    import ray
    from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

    dispatcher.remove_handler("ray_print_logs")
    dispatcher.add_handler("ray_print_logs", WorkerOutput(ray.get_runtime_context().get_job_id()))


def _place_of(address: str | None, context: Any) -> RayPlace:
    head = context.address_info["gcs_address"].rpartition(":")[0] if address else "127.0.0.1"
    url = f"http://{context.dashboard_url}" if context.dashboard_url else None
    return RayPlace(head, Dashboard(url, wants_token=os.environ.get("RAY_AUTH_MODE") == "token"))


if __name__ == "__main__":
    mask_logs()
    sys.exit(main())
