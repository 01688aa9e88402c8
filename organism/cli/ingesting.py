"""How far an ingest is, on stderr: a bar in a terminal, a line for each phase elsewhere."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from organism.cli.output import duration, printable
from organism.client import IngestJob


class IngestProgress:
    """A context manager, so that the terminal is left in order."""

    def __init__(self) -> None:
        console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._console = console
        self._phase = ""
        self._bar = Progress(
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files  {task.fields[pace]}  {task.fields[left]}", markup=False),
            console=console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("waiting", total=None, pace="", left="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, job: IngestJob) -> None:
        if self._bar.disable:
            self._tell(job)
            return
        self._bar.update(
            self._task,
            description=printable(job.phase),
            completed=job.files_done,
            total=job.files_total,
            left="" if job.seconds_left is None else f"{duration(job.seconds_left)} left",
        )
        files_per_s = self._bar.tasks[0].speed
        self._bar.update(self._task, pace=f"{files_per_s:,.0f} files/s" if files_per_s else "")

    def _tell(self, job: IngestJob) -> None:
        if job.phase != self._phase and not job.has_ended:
            self._phase = job.phase
            self._console.print(printable(job.phase), style="dim")
