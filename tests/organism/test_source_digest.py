"""Which listeners' code changed, told from the source without running it."""

import sys

import pytest

from organism.config import Listener
from organism.source_digest import SourceDigests

MODULE = """\
from handlers.text import greeting


async def greet(payload, context):
    return greeting()
"""

GREETER = Listener(name="greeter", payload_class="handlers.hello.Greeting", handler="handlers.hello.greet")


@pytest.fixture
def make_folder(tmp_path):
    def make(name="hello", **files):
        folder = tmp_path / name
        (folder / "handlers").mkdir(parents=True, exist_ok=True)
        defaults = {"__init__": "", "hello": MODULE, "text": "def greeting(): return 'hello'\n"}
        for module, text in {**defaults, **files}.items():
            (folder / "handlers" / f"{module}.py").write_text(text)
        return folder

    return make


def _digest(folder) -> str:
    return SourceDigests(folder).of(GREETER)


def test_a_digest_changes_with_the_modules_that_the_handler_imports(make_folder):
    before = _digest(make_folder("a"))
    assert _digest(make_folder("b")) == before
    assert _digest(make_folder("b", text="def greeting(): return 'hallo'\n")) != before
    assert _digest(make_folder("c", hello=MODULE + "\n# more\n")) != before
    assert _digest(make_folder("d", __init__="x = 1\n")) != before


def test_a_digest_does_not_change_with_other_modules(make_folder):
    before = _digest(make_folder("a"))
    assert _digest(make_folder("a", other="x = 1\n")) == before
    (make_folder("a") / "organism.yaml").write_text("organism: {name: other}\n")
    assert _digest(make_folder("a")) == before


@pytest.mark.parametrize(
    "line",
    [
        "from . import other",
        "from .other import x",
        "from handlers import other",
        "import handlers.other",
        "def late():\n    import handlers.other as o",
        "from . import middle",
        "from .text import *",
        "import importlib\nimportlib.import_module('handlers.' + 'other')",
        "__import__('handlers.other')",
        "this is no Python",
    ],
)
def test_a_digest_follows_every_way_to_import(make_folder, line):
    files = {"hello": f"{MODULE}\n{line}\n", "middle": "from .other import x\n"}
    before = _digest(make_folder("a", other="x = 1\n", **files))
    assert _digest(make_folder("b", other="x = 2\n", **files)) != before


def test_a_digest_follows_relative_imports_from_subpackages(make_folder):
    folder = make_folder(hello=MODULE + "\nfrom .sub import deep\n", other="x = 1\n")
    (folder / "handlers" / "sub").mkdir()
    (folder / "handlers" / "sub" / "__init__.py").write_text("")
    (folder / "handlers" / "sub" / "deep.py").write_text("from ..other import x\nfrom .... import beyond\n")
    before = _digest(folder)
    (folder / "handlers" / "other.py").write_text("x = 2\n")
    assert _digest(folder) != before


def test_modules_that_import_each_other_have_a_digest(make_folder):
    folder = make_folder(text="import handlers.hello\ndef greeting(): ...\n")
    assert len(_digest(folder)) == 64


def test_a_digest_runs_nothing(make_folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "handlers.hello", raising=False)  # of another test
    assert _digest(make_folder(hello="raise SystemExit('ran')\n"))
    assert "handlers.hello" not in sys.modules


def test_digests_of_many_listeners_read_each_file_once(make_folder, monkeypatch):
    folder = make_folder()
    digests = SourceDigests(folder)
    first = digests.of(GREETER)
    (folder / "handlers" / "hello.py").unlink()
    (folder / "handlers" / "hello.py").write_text("changed meanwhile")
    assert digests.of(GREETER.model_copy(update={"name": "other"})) == first
