"""Libraries of code: ingest a repository, search it, ask it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from organism.cli import INTERRUPTED
from organism.cli.failures import CliFailure
from organism.cli.ingesting import IngestProgress
from organism.cli.library_choice import library_of
from organism.cli.options import AsJson, Url
from organism.cli.output import Screen, age, counted, printable
from organism.cli.session_client import open_client
from organism.client import (
    AnswerDelta,
    Client,
    CodeAnswer,
    CodeSource,
    IngestJob,
    IngestResult,
    Librarian,
    LibrarySummary,
)
from organism.client.librarian import cited, place_of, result_of

_SHOWN_LINES = 6  # of a snippet

Library = Annotated[str, typer.Argument(metavar="LIB", help="The library's id, or its name where only one has it.")]
MaxChunks = Annotated[int, typer.Option("--limit", min=1, max=100, help="Sources, at most.")]


def register(app: typer.Typer) -> None:
    app.command()(ingest)
    app.command()(search)
    app.command()(ask)
    group = typer.Typer(help="Lists and deletes libraries; alone it lists them.")
    group.callback(invoke_without_command=True)(libraries)
    group.command()(delete)
    app.add_typer(group, name="libraries")


def ingest(
    repository: Annotated[
        str, typer.Argument(metavar="URL", help="A git URL, or the path of a repository on the organism's machine.")
    ],
    branch: Annotated[str | None, typer.Option(help="Branch or tag; the repository's default otherwise.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the library; the repository's otherwise.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Makes a library of a git repository, or brings it up to date. Ctrl-C cancels: the library is as it was then."""
    screen = Screen(as_json)
    with open_client(url) as client:
        job = client.librarian.start_ingest(absolute(repository), branch=branch, name=name)
        try:
            job = _follow(client.librarian, job)
        except KeyboardInterrupt:
            job = client.librarian.cancel(job.job_id)
            if job.status != "succeeded":  # it may have ended at that moment
                _say_cancelled(screen, job)
                raise typer.Exit(INTERRUPTED) from None
        result = result_of(job)
    if as_json:
        screen.json(result.model_dump(mode="json"))
    else:
        _tell(screen, result)


def absolute(repository: str) -> str:
    """A path as the organism, which runs in another folder, can find it; a URL as it is."""
    is_remote = "://" in repository or re.match(r"[^/\\]+:", repository)
    return repository if is_remote else str(Path(repository).expanduser().absolute())


def _follow(librarian: Librarian, job: IngestJob) -> IngestJob:
    with IngestProgress() as progress:
        for step in librarian.follow(job.job_id):
            progress.show(step)
            job = step
    return job


def _say_cancelled(screen: Screen, job: IngestJob) -> None:
    if screen.as_json:
        screen.json({"error": {"code": "ingest_cancelled", "message": "cancelled", "details": {"job_id": job.job_id}}})
    else:
        screen.notice("cancelled; the library is as it was before")


def _tell(screen: Screen, result: IngestResult) -> None:
    what = f"{counted(result.files_processed, 'file')}, {counted(result.chunks_created, 'chunk')}"
    done = f"in {result.took_s:.1f} s" if result.updated else "nothing has changed"
    screen.line(f"{printable(result.library_id)}: {what} of {printable(result.branch)} {result.commit[:12]}, {done}")
    beside = ((result.skipped_count, "file"), (result.secrets_masked, "secret"))
    for (number, noun), became in zip(beside, ("skipped", "masked"), strict=True):
        if number:
            screen.notice(f"{counted(number, noun)} {became}")
    for each in result.errors:
        screen.notice(f"{each.path}: {each.message}")


def search(
    library: Library,
    query: Annotated[str, typer.Argument(help="Plain words, or the name of a symbol.")],
    limit: MaxChunks = 10,
    path: Annotated[list[str] | None, typer.Option(help="Only in this folder or glob; repeatable.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only in this language; repeatable.")] = None,
    chunk_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only: function, method, class, module, section, block; repeatable."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Searches a library: the best places, with what stands there."""
    screen = Screen(as_json)
    with open_client(url) as client:
        found = client.librarian.search(
            library_of(client.librarian.libraries(), library),
            query,
            max_chunks=limit,
            paths=path or (),
            languages=language or (),
            chunk_types=chunk_type or (),
        )
    if as_json:
        screen.json(found.model_dump(mode="json"))
        return
    for source in found.sources:
        _show(screen, source)
    if not found.sources:
        screen.notice("nothing was found")


def _show(screen: Screen, source: CodeSource) -> None:
    head = f"{place_of(source)}  {source.qualified_name} ({source.chunk_type}, {source.relevance_score:.2f})"
    screen.line(printable(head), style="bold")
    lines = source.snippet.splitlines()
    for line in lines[:_SHOWN_LINES]:
        screen.line(f"    {printable(line)}")
    if len(lines) > _SHOWN_LINES:
        screen.line("    …", style="dim")


def ask(
    library: Library,
    question: Annotated[str, typer.Argument(help="In plain words.")],
    model: Annotated[str | None, typer.Option(help="The model that writes the answer.")] = None,
    limit: MaxChunks = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Asks a library: an answer whose citations [1], [2], … are the places listed below it."""
    screen = Screen(as_json)
    with open_client(url) as client:
        library_id = library_of(client.librarian.libraries(), library)
        if as_json:
            answer = client.librarian.query(library_id, question, max_chunks=limit, model=model)
            screen.json(answer.model_dump(mode="json"))
            return
        answer = _stream(screen, client, library_id, question, limit, model)
    for number, source in cited(answer):
        screen.line(printable(f"[{number}] {place_of(source)}  {source.qualified_name}"))


def _stream(
    screen: Screen, client: Client, library_id: str, question: str, limit: int, model: str | None
) -> CodeAnswer:
    """Shows the answer as it is written in a terminal, and whole in a pipe, so that what goes there was checked."""
    shown = ""
    for event in client.librarian.stream(library_id, question, max_chunks=limit, model=model):
        if isinstance(event, AnswerDelta) and sys.stdout.isatty():
            shown += event.text
            sys.stdout.write(printable(event.text))
            sys.stdout.flush()
        if isinstance(event, CodeAnswer):
            if shown:
                screen.line("\n")
            if shown.strip() != event.answer.strip():
                if shown:
                    screen.notice("false citations are removed:")
                screen.line(f"{printable(event.answer)}\n")
            return event
    raise CliFailure("the answer did not come to its end; ask again")


def libraries(
    ctx: typer.Context,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Lists and deletes libraries; alone it lists them, by name."""
    if ctx.invoked_subcommand is not None:
        return
    screen = Screen(as_json)
    with open_client(url) as client:
        found = client.librarian.libraries()
    if as_json:
        screen.json({"libraries": [each.model_dump(mode="json") for each in found], "total": len(found)})
        return
    screen.table(("library", "name", "branch", "commit", "#files", "#chunks", "updated", "source"), map(_row, found))
    for each in found:
        if each.damage:
            screen.notice(f"{each.library_id} cannot be used: {each.damage}")
    if not found:
        screen.notice("there are none; `organism ingest URL` makes one")


def _row(library: LibrarySummary) -> tuple[object, ...]:
    return (
        library.library_id,
        library.name,
        library.branch,
        library.commit[:12],
        library.total_files,
        library.total_chunks,
        age(library.updated_at) if library.updated_at else "",
        library.source_url,
    )


def delete(library: Library, url: Url = None, as_json: AsJson = False) -> None:
    """Deletes a library and all its files; the repository is not touched."""
    screen = Screen(as_json)
    with open_client(url) as client:
        library_id = library_of(client.librarian.libraries(), library)
        client.librarian.delete(library_id)
    if as_json:
        screen.json({"library_id": library_id, "deleted": True})
    else:
        screen.line(f"{printable(library_id)} is deleted")
