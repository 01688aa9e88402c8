from __future__ import annotations

import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.up import Up

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `git clone` and `make install` leave it, as far as the README's tour needs it."""
    clone = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(ROOT / "examples" / "hello", clone / "examples" / "hello", ignore=ignored)
    (clone / ".venv").symlink_to(sys.prefix)
    return clone


@pytest.fixture(scope="module")
def hello(clone: Path) -> Iterator[Up]:
    """The hello organism, up and ready on a free port; all its processes are ended after the module."""
    up = Up(clone / "examples" / "hello", "--port", "0")
    try:
        yield up.wait_ready()
    finally:
        up.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the log of the organism where a test failed."""
    report = yield
    up = item.funcargs.get("hello")
    if report.failed and isinstance(up, Up):
        report.sections.append(("Log of organism up", up.output))
    return report
