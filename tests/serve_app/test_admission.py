from __future__ import annotations

import pytest

from organism.access.keys import NewKey, issue
from organism.access.principal import Role
from organism.config import OrganismConfig
from organism.messages import now_ms
from organism.storage.opening import open_access_storage
from serve_app.admission import require_admission
from serve_app.launch_errors import Unprotected

LONG = "a secret that is long enough for HS256"


def config(**sections) -> OrganismConfig:
    return OrganismConfig.model_validate({"organism": {"name": "hello"}, "listeners": [], **sections})


async def add_key(folder, **changes) -> None:
    storage = open_access_storage(config().storage, folder)
    await storage.open()
    key = issue(NewKey("boss", Role.ADMIN), now_ms()).key
    await storage.add_key(key._replace(**changes))
    await storage.close()


async def test_loopback_needs_no_authentication(tmp_path):
    await require_admission(config(), tmp_path / "organism.yaml", "127.0.0.1", {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "example.org"])
@pytest.mark.parametrize("auth", [{}, {"required": True}])
async def test_another_address_does_and_the_command_is_told(tmp_path, host, auth):
    (tmp_path / ".organism").mkdir()
    with pytest.raises(Unprotected, match="organism keys add NAME --role admin"):
        await require_admission(config(auth=auth), tmp_path / "organism.yaml", host, {})


async def test_a_key_is_enough(tmp_path):
    (tmp_path / ".organism").mkdir()
    await add_key(tmp_path)
    await require_admission(config(), tmp_path / "organism.yaml", "0.0.0.0", {})


@pytest.mark.parametrize("changes", [{"revoked_at": 1}, {"expires_at": 1}])
async def test_a_key_that_lets_nobody_in_is_none(tmp_path, changes):
    (tmp_path / ".organism").mkdir()
    await add_key(tmp_path, **changes)
    with pytest.raises(Unprotected):
        await require_admission(config(), tmp_path / "organism.yaml", "0.0.0.0", {})


async def test_memory_keeps_no_keys(tmp_path):
    memory = config(storage={"provider": "memory"})
    with pytest.raises(Unprotected, match="memory keeps no keys"):
        await require_admission(memory, tmp_path / "organism.yaml", "0.0.0.0", {})


async def test_tokens_are_enough(tmp_path):
    tokens = config(auth={"jwt": {"secret_env": "S"}})
    await require_admission(tokens, tmp_path / "organism.yaml", "0.0.0.0", {"S": LONG})
