"""Changes libraries: ingests, their jobs, deletion. One process at a time for a root folder."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Self, TypeVar
from weakref import WeakValueDictionary

from librarian.config import EmbedderChoice, SourceRules
from librarian.embedder.base import Embedder
from librarian.embedder.opening import open_embedder
from librarian.errors import LibraryDamaged, LibraryNotFound
from librarian.folder.opening import open_folder
from librarian.git_source import Resolved, fetch, resolve
from librarian.git_url import parse_git_url
from librarian.identity import default_name, library_id
from librarian.index.faiss import FaissFile
from librarian.ingest import AnalyzePacks, Identity, Ingest, Ingested, Progress, embedder_environ
from librarian.jobs import Jobs, Run, now_text
from librarian.library import LIBRARY_ID, Library, library_ids
from librarian.manifest import Manifest
from librarian.packs import Work
from librarian.reuse import Reuse, fingerprint
from librarian.values import IngestResult, Job

T = TypeVar("T")


class Ingester:
    """A LibraryIngester (ref.py).

        async with Ingester(root="…", rules=…, embedder=EmbedderChoice(), environ=os.environ) as ingester:
            await ingester.ingest(git_url, None, None)

    root, cache_folder: as of Reader. on_progress: told of each change of a job, in the event loop, at most a few times
    a second for one job; must not block. analyze_large: what analyzes large repositories, `ray_ingest.analyze_on_ray`;
    None: every repository in this process.
    """

    def __init__(
        self,
        *,
        root: str,
        rules: SourceRules,
        embedder: EmbedderChoice,
        environ: Mapping[str, str],
        on_progress: Callable[[Job], None] | None = None,
        analyze_large: AnalyzePacks | None = None,
        cache_folder: str | None = None,
    ) -> None:
        self._root = root
        self._rules = rules
        self._choice = embedder
        self._environ = environ
        self._analyze_large = analyze_large
        self._folder = open_folder(root, cache_folder)
        self._index = FaissFile()
        self._reuse = Reuse(self._folder, self._index)
        self._jobs = Jobs(self._folder, rules.limits.max_jobs, self._ingest, on_progress or _nobody)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._exits = AsyncExitStack()
        self._embedder: Embedder
        self._fingerprint: str

    async def __aenter__(self) -> Self:
        held = self._folder.held()
        await asyncio.to_thread(held.__enter__)
        self._exits.callback(held.__exit__, None, None, None)
        try:
            await asyncio.to_thread(self._open)
            await self._jobs.open()
        except BaseException:
            await self._exits.aclose()
            raise
        self._exits.push_async_callback(self._jobs.close)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._exits.aclose()

    async def ingest(self, git_url: str, branch: str | None, library_name: str | None) -> IngestResult:
        run = await self._jobs.start(git_url, parse_git_url(git_url, self._rules).url, branch, library_name)
        assert run.task is not None
        return await asyncio.shield(run.task)

    async def start_ingest(self, git_url: str, branch: str | None, library_name: str | None) -> Job:
        return (await self._jobs.start(git_url, parse_git_url(git_url, self._rules).url, branch, library_name)).job

    async def jobs(self) -> list[Job]:
        return self._jobs.list()

    async def job(self, job_id: str) -> Job:
        return self._jobs.get(job_id)

    async def cancel(self, job_id: str) -> Job:
        return await self._jobs.cancel(job_id)

    async def delete(self, library_id: str) -> None:
        if not LIBRARY_ID.fullmatch(library_id):
            raise LibraryNotFound(library_id)
        await self._jobs.cancel_library(library_id)
        async with self._lock(library_id):
            await asyncio.to_thread(self._delete, library_id)

    def _open(self) -> None:
        self._embedder = open_embedder(self._choice, self._environ)
        self._fingerprint = fingerprint(self._embedder.name, self._rules.limits)
        shutil.rmtree(self._folder.scratch, ignore_errors=True)
        for each in library_ids(self._folder):
            library = self._library(each)
            try:
                manifest = library.manifest()
            except LibraryDamaged:
                continue  # stays as it is, until it is ingested again or deleted
            if manifest is None:
                library.remove()
            else:
                library.clean(manifest)

    def _delete(self, library_id: str) -> None:
        library = self._library(library_id)
        try:
            there = library.manifest() is not None
        except LibraryDamaged:
            there = True
        if not there:
            raise LibraryNotFound(library_id)
        library.remove()

    async def _ingest(self, run: Run, git_url: str) -> IngestResult:
        started = time.monotonic()
        resolved = await resolve(git_url, run.job.branch, self._rules, self._environ)
        known = await asyncio.to_thread(library_ids, self._folder)
        name = run.job.library_name or default_name(resolved.url)
        which = library_id(resolved.url, resolved.branch, name, known)
        run.know(which)
        async with self._lock(which):
            library = self._library(which)
            current = await asyncio.to_thread(_usable, library)
            if current is not None:
                name = run.job.library_name or current.name
                if current.commit == resolved.commit and current.fingerprint == self._fingerprint:
                    if name != current.name:
                        current = await asyncio.to_thread(library.rewrite, current, name=name, updated_at=now_text())
                    return _result(Ingested(current, current.total_files), False, started)
            ingested = await self._update(run, git_url, resolved, library, which, name, current)
        return _result(ingested, True, started)

    async def _update(
        self,
        run: Run,
        git_url: str,
        resolved: Resolved,
        library: Library,
        which: str,
        name: str,
        current: Manifest | None,
    ) -> Ingested:
        place = self._folder.scratch / f"clone-{run.job.job_id}"
        await asyncio.to_thread(place.mkdir, parents=True)
        try:
            async with fetch(git_url, resolved.branch, self._rules, self._environ, place) as repository:
                environ = embedder_environ(self._choice.api_key_env, self._environ)
                work = Work(repository.folder, self._choice, self._rules.limits, environ)
                ingest = Ingest(library, work, self._embedder, _from_thread(run.tell))
                identity = Identity(which, name, repository.url, resolved.branch, repository.commit)
                return await _in_thread(
                    lambda: ingest.run(
                        repository.entries,
                        repository.skipped,
                        identity,
                        self._fingerprint,
                        now_text(),
                        current,
                        self._reuse,
                        self._analyze_large,
                    ),
                    ingest.stop,
                )
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    def _library(self, library_id: str) -> Library:
        return Library(self._folder, library_id, self._index)

    def _lock(self, library_id: str) -> asyncio.Lock:
        return self._locks.setdefault(library_id, asyncio.Lock())


def _usable(library: Library) -> Manifest | None:
    """None where there is no library, and where there is a damaged one, which is then made anew."""
    try:
        manifest = library.manifest()
    except LibraryDamaged:
        return None
    return manifest if manifest is not None and library.intact(manifest) else None


def _result(ingested: Ingested, updated: bool, started: float) -> IngestResult:
    manifest = ingested.manifest
    return IngestResult(
        library_id=manifest.library_id,
        library_name=manifest.name,
        files_processed=manifest.total_files,
        chunks_created=manifest.total_chunks,
        index_built=True,
        errors=manifest.report.errors,
        branch=manifest.branch,
        commit=manifest.commit,
        updated=updated,
        reused_files=ingested.reused_files,
        skipped_count=manifest.report.skipped_count,
        secrets_masked=manifest.report.secrets_masked,
        took_s=round(time.monotonic() - started, 3),
    )


def _from_thread(tell: Callable[[Progress], None]) -> Callable[[Progress], None]:
    loop = asyncio.get_running_loop()
    return lambda progress: loop.call_soon_threadsafe(tell, progress) and None


async def _in_thread(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """A cancel tells the thread to stop and waits until it has: nothing goes on behind anybody's back. Where it comes
    too late, what was done is done, and told so."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait([running])
        if running.exception() is None:
            return running.result()
        raise


def _nobody(job: Job) -> None:
    """Where nobody wants to know of progress."""
