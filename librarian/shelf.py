"""The libraries that are open in this process: opened when asked for, closed when others need the memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from functools import cached_property

from librarian.embedder.base import Embedder
from librarian.errors import EmbedderMismatch, LibraryDamaged, LibraryNotFound
from librarian.evidence import Evidence
from librarian.folder.base import Folder
from librarian.folder.local import LocalFolder
from librarian.index.base import VectorIndexFile
from librarian.library import LIBRARY_ID, Library, OpenLibrary, library_ids
from librarian.manifest import Manifest, unreadable
from librarian.query import read_query
from librarian.search import Searcher
from librarian.symbols import SymbolLookup
from librarian.values import Filters, LibrarySummary, LibraryView, Source, SymbolView
from librarian.views import Views

REMOTE_LOOK_EVERY_S = 1.0
"""A look at a remote manifest is a request; a new version is seen this much later at most."""


class OpenedForReading:
    """One version of a library, and what reading it needs; made when first used."""

    def __init__(self, opened: OpenLibrary, embedder: Embedder) -> None:
        self._opened = opened
        self._embedder = embedder

    @property
    def manifest(self) -> Manifest:
        return self._opened.manifest

    @property
    def memory_bytes(self) -> int:
        """The searcher's own numbers are about as large as the tables."""
        return 2 * self._opened.memory_bytes

    @cached_property
    def views(self) -> Views:
        return Views(self._opened)

    @cached_property
    def searcher(self) -> Searcher:
        return Searcher(self._opened.tables, self._opened.vectors, self._embedder)

    @cached_property
    def _lookup(self) -> SymbolLookup:
        return SymbolLookup(self._opened.tables)

    @cached_property
    def _view(self) -> LibraryView:
        return self.views.library()

    def view(self) -> LibraryView:
        return self._view

    def search(self, query: str, max_chunks: int, filters: Filters, explain: bool) -> tuple[list[Source], int]:
        """The best chunks, and how many were examined."""
        outcome = self.searcher.search(query, max_chunks, filters, explain)
        terms = read_query(query).terms
        return [self.views.source(hit.chunk, hit.score, terms, hit.explain) for hit in outcome.hits], outcome.examined

    def evidence(self, question: str, max_chunks: int) -> tuple[list[Evidence], int]:
        """The best chunks with all their text, and how many were examined."""
        outcome = self.searcher.search(question, max_chunks, Filters(), False)
        terms = read_query(question).terms
        found = [self.views.evidence(hit.chunk, hit.score, terms) for hit in outcome.hits]
        return found, outcome.examined

    def symbols(self, q: str, limit: int) -> list[SymbolView]:
        return [self.views.symbol(row) for row in self._lookup.find(q, limit)]


class Shelf:
    """Threads may share it. embedder: set before the first search."""

    embedder: Embedder

    def __init__(self, folder: Folder, index: VectorIndexFile, max_memory_bytes: int) -> None:
        self._folder = folder
        self._index = index
        self._max_memory_bytes = max_memory_bytes
        self._look_every_s = 0.0 if isinstance(folder, LocalFolder) else REMOTE_LOOK_EVERY_S
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._open: OrderedDict[str, tuple[Hashable, OpenedForReading]] = OrderedDict()
        self._damage: dict[str, tuple[Hashable, str]] = {}
        self._stamps: dict[str, tuple[float, Hashable | None]] = {}

    def get(self, library_id: str) -> OpenedForReading:
        """
        Raises:
            LibraryNotFound
            LibraryDamaged
            LibraryStorageError
        """
        if not LIBRARY_ID.fullmatch(library_id) or self._stamp(library_id) is None:
            self._forget(library_id)
            raise LibraryNotFound(library_id)
        with self._lock:
            opening = self._opening.setdefault(library_id, threading.Lock())
        with opening:  # a library is opened once, however many ask for it
            stamp = self._stamp(library_id)
            held = self._held(library_id, stamp)
            return held if held is not None else self._opened(library_id, stamp)

    def searchable(self, library_id: str) -> OpenedForReading:
        """
        Raises:
            EmbedderMismatch, and as `get`
        """
        opened = self.get(library_id)
        if opened.manifest.embedder != self.embedder.name:
            raise EmbedderMismatch(library_id, opened.manifest.embedder, self.embedder.name)
        return opened

    def summaries(self) -> list[LibrarySummary]:
        """By name and id."""
        there = library_ids(self._folder)
        for gone in self._open.keys() - there:
            self._forget(gone)
        found = [self._summary(each) for each in there]
        return sorted((each for each in found if each is not None), key=lambda each: (each.name, each.library_id))

    def damage_of(self, library_id: str) -> str | None:
        """What was wrong when it was opened last, if it is still the same version."""
        stamp, problem = self._damage.get(library_id, (None, ""))
        return problem if problem and stamp == self._stamp(library_id) else None

    def _summary(self, library_id: str) -> LibrarySummary | None:
        library = Library(self._folder, library_id, self._index)
        try:
            manifest = library.manifest()
        except LibraryDamaged as error:
            return unreadable(library_id, error.problem)
        if manifest is None:
            return None
        return manifest.summary(self.damage_of(library_id) or library.damage(manifest))

    def _opened(self, library_id: str, stamp: Hashable | None) -> OpenedForReading:
        library = Library(self._folder, library_id, self._index)
        while True:
            try:
                manifest = library.manifest()
                if manifest is None:
                    self._forget(library_id)
                    raise LibraryNotFound(library_id)
                opened = OpenedForReading(library.open(manifest), self.embedder)
            except LibraryDamaged as error:
                now = self._folder.stamp(library.manifest_path)
                if now != stamp:  # it was replaced meanwhile, and its files removed
                    stamp = now
                    continue
                self._damage[library_id] = (stamp, error.problem)
                self._forget(library_id)
                raise
            self._keep(library_id, stamp, opened)
            return opened

    def _held(self, library_id: str, stamp: Hashable | None) -> OpenedForReading | None:
        with self._lock:
            known, opened = self._open.get(library_id, (None, None))
            if opened is None or stamp is None or known != stamp:
                return None
            self._open.move_to_end(library_id)
            return opened

    def _keep(self, library_id: str, stamp: Hashable | None, opened: OpenedForReading) -> None:
        with self._lock:
            self._open[library_id] = (stamp, opened)
            self._open.move_to_end(library_id)
            used = sum(each.memory_bytes for _, each in self._open.values())
            while used > self._max_memory_bytes and len(self._open) > 1:
                _, (_, closed) = self._open.popitem(last=False)
                used -= closed.memory_bytes

    def _forget(self, library_id: str) -> None:
        with self._lock:
            self._open.pop(library_id, None)
            self._opening.pop(library_id, None)
            self._stamps.pop(library_id, None)

    def _stamp(self, library_id: str) -> Hashable | None:
        now = time.monotonic()
        at, stamp = self._stamps.get(library_id, (0.0, None))
        if stamp is None or now - at >= self._look_every_s:
            stamp = self._folder.stamp(f"{library_id}/manifest.json")
            if stamp is not None:
                self._stamps[library_id] = (now, stamp)
        return stamp
