from __future__ import annotations

from typing import Any

import pytest

from organism.config import OrganismConfig
from organism.config_rules import breaches


def found(librarian: dict[str, Any], **rest: Any) -> list[tuple[str, str]]:
    config = OrganismConfig.model_validate({"organism": {"name": "x"}, "librarian": librarian, **rest})
    return [(".".join(map(str, each.location)), f"{each.problem}. {each.remedy}") for each in breaches(config)]


@pytest.mark.parametrize(
    ("librarian", "place", "text"),
    [
        (
            {"credentials": [{"host": "git.example.org", "token_env": "ghp_0123456789abcdefghij"}]},
            "librarian.credentials.0.token_env",
            "environment variable",
        ),
        ({"embedder": {"api_key_env": "not a name"}}, "librarian.embedder.api_key_env", "environment variable"),
        ({"embedder": {"provider": "openai"}}, "librarian.embedder.model", "text-embedding-3-small"),
    ],
)
def test_what_cannot_work_is_told_where_it_stands(librarian, place, text):
    [(location, told)] = found(librarian)
    assert location == place
    assert text in told
    assert "ghp_" not in told


def test_a_model_that_no_backend_serves_is_told():
    assert found({"model": "gpt-6"}, llm={"backends": [{"models": ["gpt-5"]}]})[0][0] == "librarian.model"


def test_the_tool_that_searches_libraries_needs_the_librarian():
    sessions = {"agents": [{"name": "a", "tools": ["search_library"]}]}
    assert found({"enabled": True}, sessions=sessions) == []
    [(place, told)] = found({"enabled": False}, sessions=sessions)
    assert place == "sessions.agents.0.tools.0"
    assert "librarian.enabled" in told


def test_the_defaults_and_a_whole_section_are_fine():
    whole = {
        "path": "s3://bucket/libraries",
        "local_repositories": False,
        "private_hosts": ["git.internal"],
        "credentials": [{"host": "git.internal", "token_env": "GIT_TOKEN"}],
        "embedder": {"provider": "openai", "base_url": "http://e/v1", "model": "m", "api_key_env": "KEY", "dim": 512},
        "workers": 4,
        "replicas": 2,
        "limits": {"max_files": 10},
    }
    assert found({}) == found(whole) == []
