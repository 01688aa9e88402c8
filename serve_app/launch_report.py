"""What the launcher says of itself: for people, or with --json as the documents that the `organism` command prints."""

from __future__ import annotations

import os
import sys
from typing import Any

import orjson

from organism.errors import OrganismError
from organism.masking import mask_text
from serve_app.launch_errors import CannotLaunch

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def tell(error: OrganismError | CannotLaunch, as_json: bool) -> None:
    """Why there is no organism."""
    message = mask_text(str(error))
    if as_json:
        _print_document({"error": {"code": error.code, "message": message}})
    else:
        print(f"organism: {message}", file=sys.stderr, flush=True)  # noqa: T201 (the launcher is a command)


def tell_ready(url: str, namespace: str, dashboard: str | None) -> None:
    """As `organism up --detach --json` does, for a run in the foreground."""
    _print_document({"url": url, "pid": os.getpid(), "namespace": namespace, "dashboard": dashboard})


def _print_document(document: dict[str, Any]) -> None:
    print(orjson.dumps(document).decode(), flush=True)  # noqa: T201
