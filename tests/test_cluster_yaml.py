"""cluster.yaml fits the schema of Ray's cluster launcher and mounts what is there."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_the_cluster_launcher_takes_the_file(cluster: dict[str, Any]) -> None:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)


def test_everything_that_is_mounted_is_there(cluster: dict[str, Any]) -> None:
    assert [path for path in cluster["file_mounts"].values() if not (ROOT / path).exists()] == []


def test_what_is_installed_is_mounted(cluster: dict[str, Any]) -> None:
    mounted = set(cluster["file_mounts"].values())
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {each.parent.name for pattern in include for each in ROOT.glob(f"{pattern}/__init__.py")}
    assert packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= mounted


def test_the_nodes_run_the_ray_of_the_constraints(cluster: dict[str, Any]) -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    assert f"\nray=={cluster['docker']['image'].partition(':')[2].partition('-')[0]}\n" in constraints
