"""Which library somebody means by its id, or by its name."""

from __future__ import annotations

from collections.abc import Sequence

from organism.cli.failures import CliFailure, ExitCode
from organism.client import LibrarySummary


def library_of(libraries: Sequence[LibrarySummary], named: str) -> str:
    """The id of the library that has this id, or alone has this name. Raises CliFailure, which names all."""
    if any(each.library_id == named for each in libraries):
        return named
    found = [each.library_id for each in libraries if each.name == named]
    if len(found) == 1:
        return found[0]
    if found:
        raise CliFailure(
            f"{named!r} is the name of {len(found)} libraries: {', '.join(found)}; give the id",
            ExitCode.REFUSED,
            "ambiguous",
        )
    there = f"there are {', '.join(each.library_id for each in libraries)}" if libraries else "there is none at all"
    problem = f"no library has the id or the name {named!r}; {there}; `organism ingest URL` makes one"
    raise CliFailure(problem, ExitCode.REFUSED, "library_not_found")
