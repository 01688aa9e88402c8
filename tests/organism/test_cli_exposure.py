"""The warning of `organism up` where everybody gets through a proxy and nobody is asked who he is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from organism.access.keys import NewKey, issue
from organism.access.principal import Role
from organism.cli.exposure import warn_of_open_door
from organism.cli.output import Screen
from organism.config import OrganismConfig
from organism.storage.opening import open_access_storage

NAME = "organism.example.org"
BEHIND_A_PROXY: dict[str, Any] = {"api": {"allowed_hosts": ["localhost", NAME]}}


def config(**sections: Any) -> OrganismConfig:
    return OrganismConfig.model_validate({"organism": {"name": "hello"}, "listeners": [], **sections})


async def add_key(folder: Path, **changes: Any) -> None:
    storage = open_access_storage(config().storage, folder)
    await storage.open()
    await storage.add_key(issue(NewKey("boss", Role.ADMIN), 1).key._replace(**changes))
    await storage.close()


@pytest.fixture
def warned(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def warned(host: str = "127.0.0.1", **sections: Any) -> str:
        warn_of_open_door(Screen(as_json=False), config(**sections), tmp_path, host)
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err

    return warned


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_who_gets_through_the_proxy_is_admin_and_the_command_is_told(warned, host):
    shown = warned(host, **BEHIND_A_PROXY)
    assert shown.startswith(f"warning: there is no authentication, and api.allowed_hosts names {NAME}: ")
    assert f"in front of {host} is admin" in shown
    assert "`organism keys add NAME --role admin`" in shown
    assert shown.count("\n") == 1


def test_memory_keeps_no_keys(warned):
    assert "give auth.jwt" in warned(storage={"provider": "memory"}, **BEHIND_A_PROXY)


@pytest.mark.parametrize("names", [[], ["localhost"], ["127.0.0.1", "::1"]])
def test_names_of_loopback_are_no_reason(warned, names):
    assert warned(api={"allowed_hosts": names}) == ""


def test_where_it_listens_elsewhere_the_start_is_refused_anyway(warned):
    assert warned("0.0.0.0", **BEHIND_A_PROXY) == ""


@pytest.mark.parametrize("auth", [{"required": True}, {"jwt": {"secret_env": "S"}}])
def test_authentication_by_the_file_is_enough(warned, auth):
    assert warned(auth=auth, **BEHIND_A_PROXY) == ""


@pytest.mark.parametrize("changes", [{}, {"revoked_at": 1}, {"expires_at": 1}])
def test_any_key_turns_authentication_on(warned, tmp_path, changes):
    asyncio.run(add_key(tmp_path, **changes))
    assert warned(**BEHIND_A_PROXY) == ""


def test_what_is_wrong_with_the_storage_is_left_to_the_launcher(warned, tmp_path):
    (tmp_path / ".organism").mkdir()
    (tmp_path / ".organism" / "access.db").write_bytes(os.urandom(5000))
    assert warned(**BEHIND_A_PROXY) == ""
    assert warned(storage={"provider": "postgres", "url_env": "NOT_SET"}, **BEHIND_A_PROXY) == ""
