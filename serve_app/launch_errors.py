"""Why an organism cannot run, apart from what is wrong with the organism itself."""

from __future__ import annotations


class CannotLaunch(Exception):
    """Base: told in one line, without a traceback. `code` names the kind of error for --json."""

    code = "start_failed"


class PortUnavailable(CannotLaunch):
    """The address of the API cannot be listened on."""

    code = "port_unavailable"

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host = host
        self.port = port
        self.reason = reason

    def __str__(self) -> str:
        remedy = "stop what uses it, or choose another with --port or organism.port (0 picks a free one)"
        return f"cannot listen on {self.host}:{self.port}: {self.reason}; {remedy}"


class Unprotected(CannotLaunch):
    """Other machines would reach the API, and there is no way to tell them apart."""

    code = "unprotected"

    def __init__(self, host: str, provider: str) -> None:
        super().__init__(host, provider)
        self.host = host
        self.provider = provider

    def __str__(self) -> str:
        refusal = f"will not listen on {self.host or 'all addresses'}, which others can reach, without authentication"
        if self.provider == "memory":
            return f"{refusal}; storage.provider: memory keeps no keys, so choose another, or give auth.jwt"
        return f"{refusal}; make a key with `organism keys add NAME --role admin`, or listen on 127.0.0.1"


class RayUnusable(CannotLaunch):
    """Ray did not start, or there is no cluster at the address."""

    code = "ray_unusable"

    def __init__(self, address: str | None, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        if self.address is None:
            return f"Ray did not start: {self.reason}; its logs are in /tmp/ray/session_latest/logs"
        return (
            f"no Ray cluster answers at {self.address}: {self.reason}; start one with `ray start --head`, leave "
            "--address out, or set RAY_AUTH_MODE=token where the cluster wants one (--address auto does by itself)"
        )


class RayDied(CannotLaunch):
    """A process of our own Ray ended, and with it everything that runs in it."""

    code = "ray_died"

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self.process = process

    def __str__(self) -> str:
        return f"Ray ended (its {self.process}); start the organism again, what it has accepted is in its storage"


class ServeUnusable(CannotLaunch):
    """Ray Serve cannot be used for this organism."""

    code = "serve_unusable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot serve the API: {self.reason}"


class AlreadyRuns(CannotLaunch):
    """The Ray cluster runs an organism in this namespace."""

    code = "running_already"

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self.namespace = namespace

    def __str__(self) -> str:
        return (
            f"an organism runs in namespace {self.namespace!r} of this Ray cluster already; "
            "stop it with `organism down --url …`, or choose another with --namespace"
        )


class NotReady(CannotLaunch):
    """Everything was started, and /ready did not answer in time."""

    code = "not_ready"

    def __init__(self, url: str, waited_s: float, last: str) -> None:
        super().__init__(url, waited_s, last)
        self.url = url
        self.waited_s = waited_s
        self.last = last

    def __str__(self) -> str:
        return f"{self.url}/ready did not answer with 200 within {self.waited_s:g} s: {self.last}"
