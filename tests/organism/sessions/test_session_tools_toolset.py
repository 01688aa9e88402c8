import threading
from pathlib import Path

import orjson
import pytest

from organism.config import Listener, LlmSection, SessionsSection, WorkspaceSection
from organism.errors import AgentNotFound, HandlerNotLoaded
from organism.loading import forget_folder
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.toolset import open_toolset
from organism.sessions.wire import AgentAnswer, SessionCellSpec
from organism.sessions.workspace import Workspace

SOURCE = '''
import threading
from organism.handlers import Payload
from organism.sessions.tools.base import ToolContext, ToolFailed

class Greeting(Payload):
    name: str

async def greet(payload, context):
    return None

def weather(city: str, days: int = 1, *, context: ToolContext) -> dict:
    """The weather
    of a city.

    More that nobody needs.
    """
    if city == "Nowhere":
        raise ToolFailed("there is no such city")
    return {"city": city, "days": days, "session": context.session_id, "thread": threading.current_thread().name}

async def soon(count: int) -> str:
    return "x" * count

def untyped(city):
    return city
'''


class Link:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict]] = []
        self.answer = AgentAnswer("completed", "Greeting", b'{"name":"Ada"}', None)

    async def inject(self, session_id, agent, payload):
        assert session_id == "session-1"
        if payload.get("name") == "gone":
            raise AgentNotFound(agent)
        self.sent.append((agent, payload))
        return "thread-1"

    async def wait_thread(self, thread_id, timeout_s):
        return self.answer


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_tools_of_test.py").write_text(SOURCE)
    yield tmp_path
    forget_folder(tmp_path)


@pytest.fixture
def context(tmp_path):
    return ToolContext("session-1", Workspace(tmp_path / "work"))


def spec_of(*names: str, **tools) -> SessionCellSpec:
    sessions = SessionsSection.model_validate({"agents": [{"name": "a", "tools": names}], "tools": tools})
    listeners = tuple(
        Listener(
            name=each, payload_class="own_tools_of_test.Greeting", handler="own_tools_of_test.greet", description="d"
        )
        for each in ("greeter", "hidden")
    )
    return SessionCellSpec(
        "c", "i", "d", sessions, LlmSection(), {}, "", b"", listeners, WorkspaceSection(), "/nowhere"
    )


async def tools_for(folder: Path, *names: str, link=None, search_library=None, **tools):
    toolset = await open_toolset(spec_of(*names, **tools), folder, link or Link(), search_library)
    found = {each.spec.name: each for each in await toolset.tools_of(names)}
    await toolset.close()
    return found


async def test_the_group_and_names_give_each_tool_once(folder):
    found = await tools_for(folder, "files", "read_file")
    assert list(found) == ["read_file", "write_file", "edit_file", "list_files", "search_files"]


async def test_tools_that_are_not_configured_are_not_there(folder):
    assert await tools_for(folder, "run_command", "fetch_url", "search_library") == {}
    section = {"run_command": {"allow": ["ls"]}, "fetch_url": {"allow_hosts": ["a.example"]}}
    assert list(await tools_for(folder, "run_command", "fetch_url", **section)) == ["run_command", "fetch_url"]


async def test_a_python_function_is_described_by_its_hints_and_docstring(folder, context):
    weather = (await tools_for(folder, "own_tools_of_test.weather"))["weather"]
    assert weather.spec.description == "The weather of a city."
    assert set(weather.spec.schema["properties"]) == {"city", "days"}
    assert weather.spec.schema["required"] == ["city"]
    result = await weather.call({"city": "Rome"}, context)
    assert result["session"] == "session-1"
    assert result["thread"] != threading.main_thread().name
    with pytest.raises(ToolFailed, match="no such city"):
        await weather.call({"city": "Nowhere"}, context)
    with pytest.raises(ToolFailed, match="days"):
        await weather.call({"city": "Rome", "days": "many"}, context)


async def test_results_of_own_functions_are_cut(folder, context):
    soon = (await tools_for(folder, "own_tools_of_test.soon", max_result_bytes=100))["soon"]
    assert len(await soon.call({"count": 10_000}, context)) < 200


@pytest.mark.parametrize("name", ["gone", "untyped", "Greeting"])
async def test_a_function_that_cannot_be_a_tool_is_told_when_the_cell_starts(folder, name):
    with pytest.raises(HandlerNotLoaded):
        await tools_for(folder, f"own_tools_of_test.{name}")


async def test_send_to_agent_sends_waits_and_answers(folder, context):
    link = Link()
    send = (await tools_for(folder, "send_to_agent", link=link, send_to_agent={"agents": ["greeter"]}))["send_to_agent"]
    assert "greeter: d" in send.spec.description
    assert '"name"' in send.spec.description
    assert "hidden" not in send.spec.description
    result = await send.call({"agent": "greeter", "payload": {"name": "you"}}, context)
    assert result == {"type": "Greeting", "payload": {"name": "Ada"}}
    assert link.sent == [("greeter", {"name": "you"})]
    for arguments in ({"agent": "hidden", "payload": {}}, {"agent": "greeter", "payload": {"name": "gone"}}):
        with pytest.raises(ToolFailed):
            await send.call(arguments, context)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (AgentAnswer("active", None, None, None), "thread thread-1"),
        (AgentAnswer("error", None, None, "it broke"), "it broke"),
        (AgentAnswer("killed", None, None, None), "killed"),
    ],
)
async def test_work_that_does_not_end_well_is_told(folder, context, answer, text):
    link = Link()
    link.answer = answer
    send = (await tools_for(folder, "send_to_agent", link=link))["send_to_agent"]
    with pytest.raises(ToolFailed, match=text):
        await send.call({"agent": "greeter", "payload": {}}, context)


async def test_the_library_is_searched_when_it_is_handed_in(folder, context):
    async def search(query, limit):
        return [{"text": query, "limit": limit}]

    library = (await tools_for(folder, "search_library", search_library=search))["search_library"]
    assert await library.call({"query": "x"}, context) == [{"text": "x", "limit": 10}]


async def test_every_schema_is_json_of_an_object_that_refuses_what_it_does_not_know(folder):
    section = {"run_command": {"allow": ["ls"]}, "fetch_url": {"allow_hosts": ["a.example"]}}
    names = ("files", "run_command", "fetch_url", "send_to_agent", "own_tools_of_test.weather")
    for tool in (await tools_for(folder, *names, **section)).values():
        assert orjson.loads(orjson.dumps(tool.spec.schema))["additionalProperties"] is False
