"""From the dotted paths of a listener to its payload class and handler, imported from the organism's folder."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from organism.config import Listener
from organism.config_rules import did_you_mean, listed
from organism.errors import HandlerNotLoaded
from organism.handlers import Context, HandlerResult
from organism.masking import mask_text
from organism.payloads import PayloadType

HandlerFunction = Callable[[Any, Context], Awaitable[HandlerResult]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a listener needs at run time: the class of its payloads and the coroutine function that handles them."""

    payload: PayloadType
    handler: HandlerFunction


def load_listener(listener: Listener, folder: Path) -> Loaded:
    """Imports the payload class and the handler of `listener`, the modules of `folder` coming before installed ones.

    A process works for one folder at a time: modules of the folder before, if any, are forgotten.

    Raises:
        HandlerNotLoaded: one of them cannot be imported or has the wrong form; with the line in the author's file.
    """
    return Loaded(load_payload(listener, folder), load_handler(listener, folder))


def load_payload(listener: Listener, folder: Path) -> PayloadType:
    """The payload class alone, for those who validate and do not handle.

    Raises:
        HandlerNotLoaded: it cannot be imported, or is no payload class.
    """
    payload_class = load_attribute(listener.name, listener.payload_class, folder)
    try:
        return PayloadType(payload_class, listener.name)
    except TypeError as error:
        raise HandlerNotLoaded(listener.name, listener.payload_class, str(error)) from error


def forget_folder(folder: Path) -> None:
    """Takes `folder` off sys.path and its modules out of sys.modules: the next load reads its files again."""
    root, own = folder.resolve(), __name__.partition(".")[0]
    sys.path[:] = [each for each in sys.path if each != str(root)]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != own and _is_from(name, module, root):
            del sys.modules[name]
    importlib.invalidate_caches()


class _HandlerFolder(str):
    """An entry of sys.path that this module has put there, so that it knows its own without a global variable."""

    __slots__ = ()


def _enter(folder: Path) -> Path:
    """Puts `folder` first on sys.path, in the place of the one that was there for another organism or version."""
    root = folder.resolve()
    for entry in [each for each in sys.path if isinstance(each, _HandlerFolder) and each != str(root)]:
        forget_folder(Path(entry))
    if not sys.path or sys.path[0] != str(root):
        sys.path[:] = [_HandlerFolder(root), *(each for each in sys.path if each != str(root))]
        importlib.invalidate_caches()
    return root


def load_handler(listener: Listener, folder: Path) -> HandlerFunction:
    """The handler alone.

    Raises:
        HandlerNotLoaded: it cannot be imported, or is no coroutine function of a payload and a context.
    """
    handler = load_attribute(listener.name, listener.handler, folder)
    reason = _reason_against(handler)
    if reason is not None:
        raise HandlerNotLoaded(listener.name, listener.handler, reason)
    return handler


def _reason_against(handler: Any) -> str | None:
    """Why this cannot be a handler: it must be a coroutine function of a payload and a context."""
    if isinstance(handler, type) or not callable(handler):
        kind = "class" if isinstance(handler, type) else type(handler).__name__
        return f"is a {kind}, not a function; write `async def {_name(handler)}(payload, context):`"
    if inspect.isasyncgenfunction(handler):
        return "contains `yield`; return Send, Reply, a list of them, or None"
    function = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
    if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(function)):
        return f"must be async: write `async def {_name(handler)}(payload, context):`"
    try:
        signature = inspect.signature(handler)
        signature.bind("payload", "context")
    except TypeError:
        return f"must take (payload, context), and takes {inspect.signature(handler)}"
    except ValueError:
        return None  # no signature to look at
    return None


def _name(handler: Any) -> str:
    return getattr(handler, "__name__", "handle")


def load_attribute(owner: str, dotted: str, folder: Path) -> Any:
    """What a dotted path leads to; `owner` is who needs it, for the error.

    Raises:
        HandlerNotLoaded: it cannot be imported.
    """
    root = _enter(folder)
    module_name, _, attribute = dotted.rpartition(".")
    module = _import(owner, dotted, module_name, root)
    if not hasattr(module, attribute):
        names = [each for each in vars(module) if not each.startswith("_")]
        remedy = did_you_mean(attribute, names, f"It has: {listed(names) or 'nothing'}")
        raise HandlerNotLoaded(owner, dotted, f"{module_name} has no {attribute!r}. {remedy}")
    return getattr(module, attribute)


def _import(owner: str, dotted: str, module_name: str, root: Path) -> ModuleType:
    top = module_name.partition(".")[0]
    earlier = sys.modules.get(top)
    if earlier is not None and _is_in_folder(top, root) and not _is_from(top, earlier, root):
        reason = f"a module named {top!r} was imported before, from {_origin(earlier)}; give yours another name"
        raise HandlerNotLoaded(owner, dotted, reason)
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the author's module runs here and may raise anything
        raise HandlerNotLoaded(owner, dotted, _why(error, module_name, root)) from error


def _why(error: BaseException, module_name: str, root: Path) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        is_wanted = module_name == error.name or module_name.startswith(f"{error.name}.")
        if is_wanted:
            return _missing_module(error.name, root)
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{_shown(Path(error.filename), root)}:{error.lineno}: {type(error).__name__}: {error.msg}"
    place = _place(error, root)
    text = mask_text(f"{type(error).__name__}: {error}") if str(error) else type(error).__name__
    return f"{place}: {text}" if place else text


def _missing_module(name: str, root: Path) -> str:
    """`name` or a package on the way to it is neither in the folder nor installed."""
    parent, _, last = name.rpartition(".")
    place = root.joinpath(*parent.split(".")) if parent else root
    known = _modules_in(place)
    remedy = did_you_mean(last, known, f"The modules there are: {listed(known) or 'none'}")
    return f"there is no module {name!r} in {place}. {remedy}"


def _modules_in(place: Path) -> set[str]:
    entries = list(place.iterdir()) if place.is_dir() else []
    names = {each.stem for each in entries if each.suffix == ".py" or each.is_dir()}
    return {each for each in names if each.isidentifier() and not each.startswith("__")}


def _place(error: BaseException, root: Path) -> str | None:
    """The last line of the author's files that the error went through."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return next(
        (f"{_shown(Path(f.filename), root)}:{f.lineno}" for f in frames if _is_authored(f.filename, root)), None
    )


def _shown(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _is_in_folder(top: str, root: Path) -> bool:
    return (root / f"{top}.py").is_file() or (root / top).is_dir()


def _is_from(name: str, module: ModuleType, root: Path) -> bool:
    """Whether `module` was loaded from where its name leads below `root`.

    Lying somewhere below is not enough: the virtual environment may be in the folder as well.
    """
    place = root.joinpath(*name.split("."))
    file = getattr(module, "__file__", None)
    if file is None:  # a package without __init__.py
        return str(place) in getattr(module, "__path__", ())
    path = Path(file)
    return path.parent == place or (path.parent == place.parent and path.name.partition(".")[0] == place.name)


def _is_authored(file: str, root: Path) -> bool:
    return Path(file).is_relative_to(root) and "site-packages" not in file


def _origin(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or "the interpreter")
