from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from librarian.config import EmbedderChoice, GitCredential, IngestLimits
from organism.config import OrganismConfig
from serve_app.librarian_settings import LibrarianSettings, librarian_settings


def settings_of(host: str = "127.0.0.1", **librarian: Any) -> LibrarianSettings:
    config = OrganismConfig.model_validate({"organism": {"name": "x"}, "librarian": librarian})
    settings = librarian_settings(config, Path("/organism"), host, "10.0.0.1", {})
    assert settings is not None
    return settings


def test_the_defaults_of_the_file_are_those_of_the_librarian():
    settings = settings_of()
    assert settings.rules.limits == IngestLimits()
    assert settings.embedder == EmbedderChoice()
    assert settings.root == "/organism/.organism/librarian"
    assert settings.resources == {"node:10.0.0.1": 0.001}


@pytest.mark.parametrize(
    ("host", "section", "local"),
    [
        ("127.0.0.1", {}, True),
        ("localhost", {}, True),
        ("::1", {}, True),
        ("0.0.0.0", {}, False),
        ("10.1.2.3", {"local_repositories": True}, True),
        ("127.0.0.1", {"local_repositories": False}, False),
    ],
)
def test_local_repositories_are_for_those_who_are_on_this_machine(host, section, local):
    assert settings_of(host, **section).rules.local is local


def test_libraries_on_a_remote_filesystem_may_be_searched_anywhere():
    settings = settings_of(path="s3://bucket/libraries")
    assert (settings.root, settings.resources) == ("s3://bucket/libraries", {})


def test_what_the_file_says_is_passed_on():
    settings = settings_of(
        path="/data/libraries",
        private_hosts=["git.internal"],
        credentials=[{"host": "git.internal", "token_env": "GIT_TOKEN"}],
        limits={"max_files": 5},
        embedder={"provider": "openai", "model": "m", "base_url": "http://e", "api_key_env": "KEY", "dim": 8},
    )
    assert settings.root == "/data/libraries"
    assert settings.rules.private_hosts == ("git.internal",)
    assert settings.rules.credentials == (GitCredential("git.internal", "GIT_TOKEN"),)
    assert settings.rules.limits.max_files == 5
    assert settings.embedder == EmbedderChoice("openai", "http://e", "m", "KEY", 8)


def test_one_that_is_switched_off_has_no_settings():
    config = OrganismConfig.model_validate({"organism": {"name": "x"}, "librarian": {"enabled": False}})
    assert librarian_settings(config, Path("/organism"), "127.0.0.1", "10.0.0.1", {}) is None
