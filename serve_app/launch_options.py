"""The launcher's command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from organism.config_file import CONFIG_NAME


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """What the command line says; None takes the value of the file, or the default.

    file: organism.yaml, absolute. address: of the Ray cluster to join; None starts a Ray of its own.
    """

    file: Path
    host: str | None
    port: int | None
    address: str | None
    namespace: str | None
    tls_self_signed: bool = False
    as_json: bool = False

    @property
    def folder(self) -> Path:
        return self.file.parent


def parse_options(arguments: Sequence[str] | None) -> LaunchOptions:
    """Reads the command line (`sys.argv` for None); exits with 2 and a usage line when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m serve_app", description="Runs an organism until it is stopped.")
    parser.add_argument("file", type=Path, metavar="ORGANISM_YAML", help="the file, or its folder")
    parser.add_argument("--host", help="address the API listens on, instead of api.host")
    parser.add_argument("--port", type=_port, help="its TCP port, instead of organism.port; 0 picks a free one")
    parser.add_argument("--address", help="join the Ray cluster at this address (auto finds a local one)")
    parser.add_argument("--namespace", help="Ray namespace; organism-<name> without it")
    parser.add_argument("--tls-self-signed", action="store_true", help="HTTPS for a trial, by a certificate made here")
    parser.add_argument("--json", action="store_true", help="tell what is ready, or why not, as a JSON document")
    given = parser.parse_args(arguments)
    file = (given.file / CONFIG_NAME if given.file.is_dir() else given.file).absolute()
    return LaunchOptions(
        file, given.host, given.port, given.address, given.namespace, given.tls_self_signed, given.json
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; give a number from 0 to 65535")
    return port
