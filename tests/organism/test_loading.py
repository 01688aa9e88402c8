"""From dotted paths to payload classes and handlers."""

import sys

import pytest

from organism.config import Listener
from organism.errors import HandlerNotLoaded
from organism.loading import forget_folder, load_listener, load_payload

MODULE = """\
from organism import Payload, Send
from handlers.text import greeting


class Greeting(Payload):
    name: str


async def greet(payload, context):
    return Send(Greeting(name=greeting()))
"""

GREETER = Listener(name="greeter", payload_class="handlers.hello.Greeting", handler="handlers.hello.greet")


@pytest.fixture(autouse=True)
def _modules_of_the_test_alone():
    before, path = dict(sys.modules), list(sys.path)
    yield
    for name in [name for name, module in sys.modules.items() if before.get(name) is not module]:
        del sys.modules[name]
    sys.path[:] = path


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


def _reason(folder, text, **paths) -> str:
    (folder / "handlers" / "hello.py").write_text(text)
    with pytest.raises(HandlerNotLoaded) as caught:
        load_listener(GREETER.model_copy(update=paths), folder)
    assert caught.value.listener == "greeter"
    return caught.value.reason


async def test_a_listener_is_loaded_from_its_folder(make_folder):
    loaded = load_listener(GREETER, make_folder())
    assert (loaded.payload.name, loaded.payload.agent) == ("Greeting", "greeter")
    payload = loaded.payload.from_json(b'{"name": "Ann"}')
    sent = await loaded.handler(payload, None)  # pyright: ignore[reportArgumentType]
    assert sent.payload.name == "hello"


def test_loading_again_gives_the_same_classes(make_folder):
    folder = make_folder()
    assert load_listener(GREETER, folder).handler is load_listener(GREETER, folder).handler
    assert load_payload(GREETER, folder).python_type is load_listener(GREETER, folder).payload.python_type


async def test_modules_of_another_folder_are_not_mixed_in(make_folder):
    first = load_listener(GREETER, make_folder("a"))
    second = load_listener(GREETER, make_folder("b", text="def greeting(): return 'hallo'\n"))
    assert first.payload.python_type is not second.payload.python_type
    assert (await second.handler(None, None)).payload.name == "hallo"  # pyright: ignore[reportArgumentType]
    assert str(make_folder("a")) not in sys.path


def test_a_package_without_init_is_forgotten_too(make_folder):
    for name in ("a", "b"):
        folder = make_folder(name)
        (folder / "handlers" / "__init__.py").unlink()
        load_listener(GREETER, folder)
        assert sys.modules["handlers.hello"].__file__ == str(folder / "handlers" / "hello.py")


def test_installed_modules_in_the_folder_are_not_forgotten(make_folder):
    folder = make_folder()
    packages = folder / "venv" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "installed_thing.py").write_text("")
    sys.path.insert(0, str(packages))
    load_listener(GREETER, folder)
    thing = __import__("installed_thing")
    forget_folder(folder)
    assert sys.modules["installed_thing"] is thing
    assert "handlers.hello" not in sys.modules


def test_a_forgotten_folder_is_read_again(make_folder):
    folder = make_folder()
    load_listener(GREETER, folder)
    forget_folder(folder)
    (folder / "handlers" / "hello.py").write_text(MODULE.replace("name: str", "name: str\n    times: int = 1"))
    assert "times" in load_payload(GREETER, folder).json_schema()["properties"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(:\n", "handlers/hello.py:1: SyntaxError"),
        ("\nif True:\nx = 1\n", "handlers/hello.py:3: IndentationError"),
        ("import nothing_like_this\n", "handlers/hello.py:1: ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("\nfrom handlers.text import greting\n", "handlers/hello.py:2: ImportError"),
        ("\n\n1 / 0\n", "handlers/hello.py:3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "handlers/hello.py:2: SystemExit: 3"),
        (MODULE.replace("class Greeting", "class Greetings"), "has no 'Greeting'. Did you mean 'Greetings'?"),
        ("x = 1\n", "It has: x"),
        (MODULE.replace("(Payload)", ""), "neither a pydantic model nor a dataclass"),
        (MODULE.replace("name: str", "name: object()"), "handlers/hello.py:5: "),
        (MODULE.replace("async def greet", "def greet"), "must be async: write `async def greet(payload, context):`"),
        (MODULE.replace("return Send", "yield Send"), "contains `yield`"),
        (MODULE.replace("(payload, context)", "(payload)"), "must take (payload, context), and takes (payload)"),
        (MODULE.replace("(payload, context)", "(a, b, c)"), "and takes (a, b, c)"),
        (MODULE.replace("async def greet", "class greet: pass\nasync def other"), "is a class, not a function"),
        (MODULE + "greet = 5\n", "is a int, not a function"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(make_folder, text, reason):
    assert reason in _reason(make_folder(), text)


def test_a_module_that_is_not_there_is_told_with_the_nearest_one(make_folder):
    told = _reason(make_folder(), MODULE, handler="handlers.helo.greet")
    assert "there is no module 'handlers.helo'" in told
    assert "Did you mean 'hello'?" in told
    assert "The modules there are: handlers" in _reason(make_folder("b"), MODULE, handler="zzzzz.hello.greet")


def test_a_module_whose_name_is_taken_is_told(make_folder):
    folder = make_folder()
    (folder / "orjson.py").write_text("async def greet(payload, context): ...\n")
    told = _reason(folder, MODULE, handler="orjson.greet")
    assert "give yours another name" in told


def test_handlers_may_be_objects_and_take_further_defaults(make_folder):
    text = MODULE + "class Greeter:\n    async def __call__(self, payload, context, more=1): ...\ngreet = Greeter()\n"
    assert callable(load_listener(GREETER, make_folder(hello=text)).handler)


def test_an_error_of_the_class_itself_is_told(make_folder):
    text = MODULE.replace("name: str", "name: 'Missing'")
    assert "Missing" in _reason(make_folder(), text)


def test_a_secret_in_the_error_of_a_module_is_masked(make_folder):
    text = "raise ValueError('cannot log in with password=hunter2')\n" + MODULE
    assert "password=***" in _reason(make_folder(), text)
