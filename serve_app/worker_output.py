"""What handlers print, shown by the launcher behind the name of the actor that printed it, without secrets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from organism.masking import mask_text

SERVE_ACTORS = ("ServeController", "ProxyActor", "HAProxyManager")
"""Ray Serve's own, which tell of themselves in its log files."""


class WorkerOutput:
    """Takes the batches of lines that Ray collects from all workers of the cluster; shows those of one job."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def __call__(self, batch: Mapping[str, Any]) -> None:
        """batch: of one worker: {lines, is_err, job, actor_name, task_name, pid}."""
        name = batch.get("actor_name") or batch.get("task_name")
        if batch.get("job") != self._job_id or not name or name.startswith(SERVE_ACTORS):
            return
        stream = sys.stderr if batch.get("is_err") else sys.stdout
        shown = name.removeprefix("agent:").partition("@")[0]  # behind the @ a reload counts
        stream.writelines(f"{shown} | {line}\n" for line in _masked(batch["lines"]))
        stream.flush()


def _masked(lines: Sequence[str]) -> list[str]:
    """Together, as a private key takes several."""
    return mask_text("\n".join(lines)).split("\n")
