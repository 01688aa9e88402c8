"""The configuration reference of the README is complete and tells the true defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from organism import config
from organism.config import Section

README = (Path(__file__).parent.parent / "README.md").read_text()
SECTIONS = [
    each
    for each in vars(config).values()
    if isinstance(each, type) and issubclass(each, Section) and each is not Section
]
FIELDS = [(section, name) for section in SECTIONS for name in section.model_fields]


def row_of(section: type[Section], name: str) -> list[str]:
    """The cells of the row for this key, in the table below the section's heading."""
    _, found, rest = README.partition(f"\n### {section.__name__}:")
    assert found, f"the README has no section for {section.__name__}"
    rows = re.split(r"\n#+ ", rest)[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("|")]
    return next((row for row in cells if f"`{name}`" in row[0].split(", ")), [])


def shown_default(field: FieldInfo) -> str:
    """A default as the README writes it."""
    if field.is_required():
        return "required"
    default: Any = field.default
    if isinstance(default, Section):
        return ""
    if default is None:
        return "none"
    if isinstance(default, tuple):
        return f"`[{', '.join(default)}]`"
    special = {"": '`""`', False: "`false`", True: "`true`"}
    is_special = isinstance(default, str | bool) and default in special
    return special[default] if is_special else f"`{default}`"


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=[f"{section.__name__}.{name}" for section, name in FIELDS])
def test_every_key_stands_in_the_readme_with_its_default(section: type[Section], name: str) -> None:
    row = row_of(section, name)
    assert row, f"no row for `{name}`"
    assert row[1] == shown_default(section.model_fields[name])


def test_the_readme_names_no_key_that_is_not_there() -> None:
    known = {name for _, name in FIELDS}
    reference = README.partition("\n## Configuration")[2].partition("\n## Command line")[0]
    named = {
        key for row in re.findall(r"^\| (`[^|]*`) \|", reference, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    }
    assert named - known == set()


def test_links_within_the_readme_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.*)$", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) - headings == set()


def test_every_command_stands_in_the_readme() -> None:
    from organism.cli import build_app

    names = [each.name or each.callback.__name__ for each in build_app().registered_commands if each.callback]
    missing = [name for name in names if f"`{name}`" not in README and f"organism {name}" not in README]
    assert missing == []
