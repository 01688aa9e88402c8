"""Which payload types a handler takes."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from organism.accepts import payload_types
from organism.loading import Loaded
from organism.payloads import PayloadType

SOURCE = """
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Union
from organism import Context, Payload, Send, SystemError
{future}
if TYPE_CHECKING:
    from nowhere import Unknown

class Task(Payload):
    text: str

@dataclass
class Answer:
    text: str

{handler}
"""

HANDLERS = {
    "async def handle(payload: Task, context: Context): ...": {"Task"},
    "async def handle(payload: Answer, context: Context): ...": {"Task", "Answer"},
    "async def handle(payload: Task | Answer | SystemError, context: Context): ...": {"Task", "Answer", "SystemError"},
    "async def handle(payload: Union[Task, SystemError], context): ...": {"Task", "SystemError"},
    "async def handle(payload: Optional[Answer], context): ...": {"Task", "Answer"},
    "async def handle(payload: 'Task | Answer', context): ...": {"Task", "Answer"},
    "async def handle(payload: 'Unknown | Answer', context): ...": {"Task"},
    "async def handle(payload, context): ...": {"Task"},
    "async def handle(payload: Any, context: Context): ...": {"Task"},
    "async def handle(payload: int | list[str], context: Context): ...": {"Task"},
    "async def handle(*arguments: Answer): ...": {"Task", "Answer"},
    "class H:\n  async def __call__(self, payload: Answer, context): ...\nhandle = H()": {"Task", "Answer"},
    "class H:\n  async def go(self, payload: Answer, context): ...\nhandle = H().go": {"Task", "Answer"},
    "import functools\nasync def go(extra, payload: Answer, context): ...\nhandle = functools.partial(go, 1)": {"Task"},
}  # fmt: skip


@pytest.fixture
def load(monkeypatch):
    def from_source(handler: str, future: str = "") -> Loaded:
        module: Any = ModuleType("handlers_of_a_test")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(f"{future}\n" + SOURCE.format(handler=handler, future=""), "handlers.py", "exec"), vars(module))
        return Loaded(PayloadType(module.Task), module.handle)

    return from_source


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"], ids=["now", "later"])
@pytest.mark.parametrize(("handler", "types"), HANDLERS.items(), ids=[*HANDLERS])
def test_the_annotation_adds_to_the_class_of_the_listener(load, handler, types, future):
    assert set(payload_types(load(handler, future), "a")) == types


def test_each_type_reads_its_own_payloads(load):
    types = payload_types(load("async def handle(payload: Task | SystemError, context: Context): ..."), "a")
    read = types["SystemError"].from_json(b'{"code": "routing", "message": "no"}')
    assert (type(read).__name__, read.code) == ("SystemError", "routing")
