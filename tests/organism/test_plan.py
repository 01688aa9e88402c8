"""Which cells an organism needs, what makes them others, and what is stored of it (plan.py, active.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from organism_folder import listener, write_organism

from organism.active import Active, compare, read_active, stored_active, to_setting
from organism.plan import cell_spec, plan_cells

CODE = "async def work(payload: Ping, context: Context): ...\n"


def read(folder: Path, *listeners: dict[str, Any], generation: int = 0, **config: Any) -> Active:
    used = listeners or [listener("a", "work"), listener("b", "work")]
    return read_active(write_organism(folder / "organism", CODE, *used, **config), generation)


def test_each_listener_has_a_cell_of_its_own_unless_it_shares(tmp_path):
    shared = [listener(name, "work", isolation="shared") for name in "bcd"]
    active = read(tmp_path, listener("a", "work"), *shared, listener("e", "work", isolation="actor"), shared_cells=2)
    plans = plan_cells(active.config, active.definitions, list(active.config.listeners), 0)
    assert {plan.name: [each.name for each in plan.listeners] for plan in plans} == {
        "agent:a": ["a"], "agent:e": ["e"], "cell:shared-1": ["b", "d"], "cell:shared-2": ["c"],
    }  # fmt: skip


def test_the_cells_of_a_reload_have_names_of_their_own(tmp_path):
    active = read(tmp_path)
    plans = plan_cells(active.config, active.definitions, list(active.config.listeners), 3)
    assert [plan.name for plan in plans] == ["agent:a@3", "agent:b@3"]


def test_no_more_shared_cells_than_listeners(tmp_path):
    active = read(tmp_path, isolation="shared", shared_cells=10)
    plans = plan_cells(active.config, active.definitions, list(active.config.listeners), 0)
    assert [plan.name for plan in plans] == ["cell:shared-1", "cell:shared-2"]


CHANGES: dict[str, dict[str, Any]] = {
    "timeout of all handlers": {"supervision": {"handler_timeout_s": 7}},
    "outputs": {"limits": {"max_outputs": 7}},
    "payload bytes": {"limits": {"max_payload_bytes": 7}},
    "state bytes": {"limits": {"max_state_bytes": 7}},
    "budget": {"max_tokens_per_thread": 7},
    "models": {"llm": {"retries": 7}},
    "isolation": {"isolation": "shared"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "restarts": {"supervision": {"max_restarts": 7}},
    "queue": {"limits": {"max_queue": 7, "window": 7, "max_clients": 7}},
    "concurrency": {"max_concurrent_per_agent": 7, "max_concurrent_handlers": 7},
    "scheduling": {"thread_scheduling": "depth-first"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=[*CHANGES])
def test_what_a_cell_was_told_at_its_start_makes_it_another_one(tmp_path, change):
    assert compare(read(tmp_path), read(tmp_path, **change)).changed == ["a", "b"]


@pytest.mark.parametrize("change", OTHERS.values(), ids=[*OTHERS])
def test_what_only_the_pump_looks_at_leaves_the_cells_alone(tmp_path, change):
    assert compare(read(tmp_path), read(tmp_path, **change)).unchanged == ["a", "b"]


def test_a_changed_peer_is_another_one_for_those_who_call_it(tmp_path):
    before = read(tmp_path, listener("a", "work", peers=["b"]), listener("b", "work"), listener("c", "work"))
    b = listener("b", "work", description="new")
    after = read(tmp_path, listener("a", "work", peers=["b"]), b, listener("c", "work"))
    assert compare(before, after).changed == ["a", "b"]


def test_a_changed_secret_starts_cells_anew(tmp_path):
    before = read(tmp_path)
    (tmp_path / "organism" / ".env").write_text("KEY=1\n")
    after = read(tmp_path)
    assert compare(before, after).changed == ["a", "b"]
    plan = plan_cells(after.config, after.definitions, list(after.config.listeners), 0)[0]
    assert cell_spec(plan, after.organism).environ == {"KEY": "1"}


def test_each_start_of_a_cell_is_an_incarnation_of_one_definition(tmp_path):
    active = read(tmp_path)
    plan = plan_cells(active.config, active.definitions, list(active.config.listeners), 0)[0]
    first, second = cell_spec(plan, active.organism), cell_spec(plan, active.organism)
    assert first.incarnation != second.incarnation
    assert first.definition == second.definition == plan.definition


def test_what_is_at_work_is_stored_whole_and_without_secrets(tmp_path):
    (tmp_path / "organism").mkdir()
    (tmp_path / "organism" / ".env").write_text("KEY=s3cr3t\n")
    active = read(tmp_path, generation=4)
    plans = plan_cells(active.config, active.definitions, list(active.config.listeners), 4)
    setting = to_setting(active, plans)
    assert "s3cr3t" not in setting
    stored = stored_active(tmp_path / "organism" / "organism.yaml", {"active": setting})
    assert stored is not None
    assert (stored.active, stored.plans) == (active, plans)
    assert stored_active(tmp_path, {}) is None
