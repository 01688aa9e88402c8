"""Both sides in one process, for tests, notebooks and servers without Ray."""

from __future__ import annotations

from librarian.ingester import Ingester
from librarian.reader import Reader


class Librarian:
    """A LibrarianRef (ref.py).

    async with Librarian(reader=Reader(…), ingester=Ingester(…)) as librarian: …
    """

    def __init__(self, *, reader: Reader, ingester: Ingester) -> None: ...
