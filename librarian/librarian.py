"""Both sides in one process, for tests, notebooks and servers without Ray."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Self

from librarian.ingester import Ingester
from librarian.reader import Reader


class Librarian:
    """A LibrarianRef (ref.py).

    async with Librarian(reader=Reader(…), ingester=Ingester(…)) as librarian: …
    """

    def __init__(self, *, reader: Reader, ingester: Ingester) -> None:
        self._reader = reader
        self._ingester = ingester
        self._exits = AsyncExitStack()
        self.libraries = reader.libraries
        self.library = reader.library
        self.search = reader.search
        self.query = reader.query
        self.stream_query = reader.stream_query
        self.chunk = reader.chunk
        self.file = reader.file
        self.symbols = reader.symbols
        self.ingest = ingester.ingest
        self.start_ingest = ingester.start_ingest
        self.jobs = ingester.jobs
        self.job = ingester.job
        self.cancel = ingester.cancel
        self.delete = ingester.delete

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(self._ingester)
            await opened.enter_async_context(self._reader)
            self._exits = opened.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._exits.aclose()
