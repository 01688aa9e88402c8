"""new: a folder with an organism that runs at once."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from organism.cli.failures import CliFailure
from organism.cli.options import AsJson
from organism.cli.output import Screen

_NAME_IN_TEMPLATE = "starter"
# What is written, and the file of starter/ it comes from; `.gitignore` has another name there, or git would heed it.
_FILES = {"organism.yaml": "organism.yaml", "handlers.py": "handlers.py", ".gitignore": "gitignore"}


def register(app: typer.Typer) -> None:
    app.command()(new)


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to; made if it is not there.")],
    as_json: AsJson = False,
) -> None:
    """Writes a starter organism: organism.yaml and handlers.py. Refuses to overwrite anything."""
    screen = Screen(as_json)
    written = write_starter(folder)
    if as_json:
        screen.json({"folder": str(folder), "files": written})
        return
    screen.line(f"{folder} holds a new organism: {', '.join(written)}")
    screen.line(f"start it    organism up {folder}")
    screen.line("""send to it  organism inject counter '{"text": "to be or not to be"}' --wait""")


def write_starter(folder: Path) -> list[str]:
    """Writes the starter into `folder`; returns the names of its files.

    Raises:
        CliFailure: one of the files is there already (nothing was written), or the folder cannot be written.
    """
    in_the_way = [name for name in _FILES if (folder / name).exists()]
    if in_the_way:
        message = f"{folder} holds {', '.join(in_the_way)} already; choose another folder"
        raise CliFailure(message, code="exists", details={"files": in_the_way})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in _FILES.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(_content(source, folder))
    except OSError as error:
        raise CliFailure(f"{folder} cannot be written: {error.strerror}", code="not_written") from error
    return list(_FILES)


def _content(source: str, folder: Path) -> str:
    text = files("organism.cli").joinpath("starter", source).read_text(encoding="utf-8")
    return text.replace(f"name: {_NAME_IN_TEMPLATE}\n", f"name: {_organism_name(folder)}\n")


def _organism_name(folder: Path) -> str:
    """The folder's name, made to fit config.NAME_PATTERN."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-")[:100]
    if not name:
        return _NAME_IN_TEMPLATE
    return name if re.match(r"[A-Za-z_]", name) else f"organism-{name}"[:100]
