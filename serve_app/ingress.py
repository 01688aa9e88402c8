"""The API on Ray Serve: a fixed number of replicas, each the application of app.py, behind Serve's HTTP proxy.

Serve has one address in a Ray cluster. An organism that shares a cluster is served at that address, at the root if
nothing else is there yet, otherwise below its name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve._private.constants import RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD
from ray.serve.context import _get_global_client

from organism import ray_actors
from organism.config import OrganismConfig
from organism.errors import OrganismUnreachable
from organism.garbage import calm_garbage_collector
from organism.ray_actors.library_search import search_application
from organism.ref import OrganismRef
from organism.web_names import is_loopback
from serve_app.access_settings import AccessSettings
from serve_app.app import build_app
from serve_app.launch_errors import ServeUnusable
from serve_app.librarian_settings import LibrarianSettings
from serve_app.ray_librarian import RayLibrarian
from serve_app.replica_log import log_to_launcher
from serve_app.replica_server import configure_server
from serve_app.tls import EVERYWHERE, TlsFiles

SPARE_REQUESTS = 1000
"""Plain requests that a replica works on beside its open streams."""

logging.getLogger("ray.serve").setLevel(logging.WARNING)

LOGGING = {"log_level": "WARNING", "enable_access_log": False}
"""Of Serve's processes, and again of each deployment, which does not inherit it."""

POLL_S = 0.1

_HEAD_NODE = {"node:__internal_head__": 0.001}


class ServePlace(NamedTuple):
    """Where an organism's API is: Serve's address, and the path its own paths come below, `/` for none.

    found: Serve ran there before, and is left running. tls: what it speaks HTTPS with.
    """

    host: str
    port: int
    prefix: str = "/"
    found: bool = False
    tls: TlsFiles | None = None

    def url(self, head_node: str) -> str:
        """The address to use, without a slash at its end; `head_node` is that of the node the proxy runs on."""
        host = head_node if self.host in EVERYWHERE else self.host
        in_url = f"[{host}]" if ":" in host else host
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{in_url}:{self.port}{self.prefix.rstrip('/')}"


def this_node_ip() -> str:
    """Of the node of Ray that this process belongs to."""
    return ray.util.get_node_ip_address()


def find_place(organism: str, namespace: str, host: str, port: int, tls: TlsFiles | None = None) -> ServePlace:
    """Where this organism can be served; blocks for as long as Serve takes to answer.

    Raises:
        ServeUnusable: the Serve of this Ray cluster listens elsewhere, or serves another organism of this name.
    """
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return ServePlace(host, port, tls=tls)
    details: Any = client.get_serve_details()
    running = details["http_options"]
    if (running["host"], running["port"]) != (host, port):
        raise ServeUnusable(
            f"Serve of this Ray cluster listens on {running['host']}:{running['port']}, and there is one per cluster; "
            "use that as --host and --port (or api.host and organism.port), or start without --address"
        )
    if running.get("ssl_certfile") != (str(tls.cert) if tls else None):
        raise ServeUnusable(
            f"Serve of this Ray cluster runs already, with the certificate {running.get('ssl_certfile')}, and shows "
            "one for all organisms; set tls in organism.yaml accordingly, or start without --address"
        )
    taken = {name: application["route_prefix"] for name, application in details["applications"].items()}
    return ServePlace(host, port, _free_prefix(organism, namespace, taken), found=True, tls=tls)


def _free_prefix(organism: str, namespace: str, taken: Mapping[str, str]) -> str:
    if namespace in taken:  # left by a launcher that was killed
        return taken[namespace]
    prefix = "/" if "/" not in taken.values() else f"/{organism}"
    if prefix in taken.values():
        raise ServeUnusable(f"another organism named {organism!r} is served in this Ray cluster; rename this one")
    return prefix


def start_serve(place: ServePlace, variables: Mapping[str, str]) -> None:
    """Starts Serve where it does not run yet; blocks until its proxies do.

    `variables` is the environment of Serve's own processes, as far as they do not inherit it from the Ray cluster.

    Raises:
        ServeUnusable: they did not start; the reason is the last line of what Ray says.
    """
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options=_http_options(place),
            logging_config=LOGGING,
            controller_options={"runtime_env": {"env_vars": dict(variables)}} if variables else None,
        )
    except (RuntimeError, TimeoutError) as error:
        raise ServeUnusable(_last_line(str(error))) from error


def _http_options(place: ServePlace) -> dict[str, Any]:
    tls = {} if place.tls is None else {"ssl_certfile": str(place.tls.cert), "ssl_keyfile": str(place.tls.key)}
    return {"host": place.host, "port": place.port, **tls}


def deploy(
    config: OrganismConfig,
    namespace: str,
    place: ServePlace,
    variables: Mapping[str, str],
    librarian: LibrarianSettings | None,
    access: AccessSettings,
) -> None:
    """Has the replicas started and returns; `deploy_trouble` tells what becomes of them."""
    application = _application(config, namespace, place, variables, librarian, access)
    target = serve.RunTarget(application, name=namespace, route_prefix=place.prefix)
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def controller_runs() -> bool:
    """Whether Serve takes applications already, which it does before its proxies run."""
    return _get_global_client(raise_if_no_controller_running=False) is not None


def deploy_trouble(name: str) -> str | None:
    """Why the replicas of an application do not start, in one line; None while all is well."""
    application = serve.status().applications.get(name)
    if application is None or application.status != "DEPLOY_FAILED":
        return None
    reasons = [each.message for each in application.deployments.values() if each.message]
    return _last_line(reasons[0] if reasons else application.message)


def undeploy(namespace: str, with_serve: bool) -> None:
    """Closes the replicas, and Serve when that is wanted and nobody else uses it; blocks until that is done."""
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    client.delete_apps([namespace, search_application(namespace)])
    if with_serve and not serve.status().applications:
        serve.shutdown()


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _application(
    config: OrganismConfig,
    namespace: str,
    place: ServePlace,
    variables: Mapping[str, str],
    librarian: LibrarianSettings | None,
    access: AccessSettings,
) -> serve.Application:
    max_body_bytes = config.limits.max_body_bytes

    async def connect() -> OrganismRef:
        while True:
            try:
                return ray_actors.connect(namespace)
            except OrganismUnreachable:  # the pump starts at the same time as this replica
                await asyncio.sleep(POLL_S)

    def build() -> FastAPI:
        if RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD:
            raise RuntimeError("the API cannot run with RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=1; unset it")
        log_to_launcher()
        calm_garbage_collector()
        library_service = RayLibrarian(namespace, librarian) if librarian else None
        app = build_app(
            connect,
            lambda: ray_actors.connect_sessions(namespace),
            library_service,
            access_service=ray_actors.connect_access(namespace),
            verifier=access.verifier(),
            place=access.place,
        )
        configure_server(app, place.prefix, max_body_bytes)
        return app

    actor_options: dict[str, Any] = {"num_cpus": 0}
    if variables:
        actor_options["runtime_env"] = {"env_vars": dict(variables)}
    if is_loopback(place.host):
        actor_options["resources"] = _HEAD_NODE  # replicas listen at the same host as the proxy, which is there

    @serve.deployment(
        name="Api",
        num_replicas=config.api.replicas,
        max_ongoing_requests=config.limits.max_clients + SPARE_REQUESTS,
        ray_actor_options=actor_options,
        health_check_period_s=1,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=2,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config=LOGGING,
    )
    @serve.ingress(build)
    class Api:
        """One replica of the API."""

        async def check_health(self) -> None:
            """Asked by Serve, which replaces the replica when this raises."""
            self.app.state.replica.feed.check()  # type: ignore[attr-defined]  # `app` comes from serve.ingress

    return Api.bind()
