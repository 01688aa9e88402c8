import pytest

from organism.config import OrganismConfig
from organism.config_rules import breaches


def found(sessions, **rest):
    listeners = [{"name": "greeter", "payload_class": "a.B", "handler": "a.b"}]
    config = OrganismConfig.model_validate(
        {"organism": {"name": "x"}, "listeners": listeners, "sessions": sessions, **rest}
    )
    return [(".".join(map(str, each.location)), f"{each.problem}. {each.remedy}") for each in breaches(config)]


SERVER = {"name": "maps", "command": ["maps-server"]}
TOOL = "sessions.agents.0.tools.0"


@pytest.mark.parametrize(
    ("sessions", "place", "text"),
    [
        ({"agents": [{"name": "a", "tools": ["read_fil"]}]}, TOOL, "'read_file'"),
        ({"agents": [{"name": "a", "tools": ["mcp.map"]}], "mcp_servers": [SERVER]}, TOOL, "mcp.maps"),
        ({"agents": [{"name": "a", "tools": ["mcp.maps."]}], "mcp_servers": [SERVER]}, TOOL, "no MCP"),
        ({"agents": [{"name": "a", "tools": ["tools..x"]}]}, TOOL, "dotted path"),
        ({"agents": [{"name": "a", "tools": ["run_command"]}]}, TOOL, "run_command.allow"),
        ({"agents": [{"name": "a", "tools": ["fetch_url"]}]}, TOOL, "fetch_url.allow_hosts"),
        ({"agents": [{"name": "a"}, {"name": "a"}]}, "sessions.agents.1.name", "sessions.agents.0"),
        ({"mcp_servers": [SERVER, SERVER]}, "sessions.mcp_servers.1.name", "sessions.mcp_servers.0"),
        ({"mcp_servers": [{"name": "x"}]}, "sessions.mcp_servers.0", "neither"),
        ({"mcp_servers": [{**SERVER, "url": "http://a"}]}, "sessions.mcp_servers.0", "both"),
        ({"mcp_servers": [{"name": "x", "url": "a/mcp"}]}, "sessions.mcp_servers.0.url", "no URL"),
        ({"tools": {"send_to_agent": {"agents": ["greter"]}}}, "sessions.tools.send_to_agent.agents.0", "'greeter'"),
        ({"mcp_servers": [{**SERVER, "env": ["A=1"]}]}, "sessions.mcp_servers.0.env.0", "environment variable"),
        (
            {"mcp_servers": [{"name": "x", "url": "http://a", "headers_env": {"Auth": "sk-1234567890"}}]},
            "sessions.mcp_servers.0.headers_env.Auth",
            "environment variable",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_where_it_stands(sessions, place, text):
    [(location, told)] = found(sessions)
    assert location == place
    assert text in told
    assert "sk-1234567890" not in told


def test_a_model_that_no_backend_serves_is_told():
    [(place, told)] = found({"agents": [{"name": "a", "model": "gpt-6"}]}, llm={"backends": [{"models": ["gpt-5"]}]})
    assert place == "sessions.agents.0.model"
    assert "gpt-5" in told


def test_what_works_is_not_told():
    names = [
        "files",
        "read_file",
        "run_command",
        "fetch_url",
        "send_to_agent",
        "search_library",
        "mcp.maps",
        "mcp.maps.find",
    ]
    sessions = {
        "agents": [{"name": "a", "tools": [*names, "tools.weather", "mcp.docs.v2.read"]}, {"name": "b"}],
        "mcp_servers": [SERVER, {"name": "docs.v2", "url": "https://a", "headers_env": {"X-Key": "DOCS_KEY"}}],
        "tools": {
            "run_command": {"allow": ["ls"]},
            "fetch_url": {"allow_hosts": ["example.org"]},
            "send_to_agent": {"agents": ["greeter"]},
        },
    }  # fmt: skip
    assert found(sessions) == []
