"""organism audit --follow, against a small API over real HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from cli_fake_api import FakeOrganism, Refusal, serving
from typer.testing import CliRunner

from organism.cli import audit_feed, build_app
from organism.cli.audit_feed import follow, new_records
from organism.cli.client import Api, RefusedByApi
from organism.cli.failures import ExitCode

COMMAND = [sys.executable, "-c", "from organism.cli import main; main()", "audit", "--follow"]
UNAVAILABLE = Refusal(503, "unavailable", "the pump is being restarted")


@pytest.fixture
def organism() -> Iterator[FakeOrganism]:
    with serving(FakeOrganism()) as fake:
        yield fake


@pytest.fixture
def api(organism: FakeOrganism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit_feed, "POLL_S", 0.01)
    with Api(organism.url) as api:
        yield api


def seqs(records: Iterator[dict[str, Any]], count: int) -> list[int]:
    return [each["seq"] for each in islice(records, count)]


def add(organism: FakeOrganism, count: int) -> None:
    for _ in range(count):
        organism.add_audit_record()


def test_what_comes_between_two_polls_is_shown_once_and_in_order(organism: FakeOrganism, api: Api) -> None:
    add(organism, 2)
    records = follow(api, {"who": "key:ci"}, 2, pytest.fail)
    add(organism, 1)
    assert seqs(records, 1) == [3]
    add(organism, 3)
    assert seqs(records, 3) == [4, 5, 6]
    assert all("who=key%3Aci" in path for _, path, _ in organism.asked)


def test_more_than_a_page_may_have_come(organism: FakeOrganism, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_feed, "PAGE", 3)
    add(organism, 10)
    assert [each["seq"] for each in new_records(api, {}, 1)] == list(range(2, 11))
    assert [each["seq"] for each in new_records(api, {}, 7)] == [8, 9, 10]


def test_while_the_organism_cannot_be_asked_it_is_asked_again(organism: FakeOrganism, api: Api) -> None:
    told: list[str] = []
    organism.audit_refusals = [UNAVAILABLE, UNAVAILABLE, Refusal(429, "too_many_requests", "try again in 1 s")]
    add(organism, 1)
    assert seqs(follow(api, {}, 0, told.append), 1) == [1]
    assert told == [f"{api.url} cannot be asked at present; asking again, from 0 on", "connected again"]


def test_a_key_that_is_refused_ends_it(organism: FakeOrganism, api: Api) -> None:
    organism.audit_refusals = [Refusal(401, "unauthenticated", "the key was revoked")]
    with pytest.raises(RefusedByApi, match="the key was revoked"):
        next(follow(api, {}, 0, pytest.fail))


@pytest.mark.parametrize("as_json", [False, True])
def test_the_newest_come_first_then_what_is_new_until_ctrl_c(
    organism: FakeOrganism, tmp_path: Path, as_json: bool
) -> None:
    add(organism, 3)
    options = ["--limit", "2", "--url", organism.url, *(["--json"] if as_json else [])]
    process = subprocess.Popen(
        [*COMMAND, *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=without_key()
    )
    with process:
        assert process.stdout is not None
        shown = [process.stdout.readline(), process.stdout.readline()]
        organism.add_audit_record(who=None, action="login", outcome="refused", detail="wrong\nkey \x1b[2J")
        shown.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (130, "", "")
    if as_json:
        assert [json.loads(line)["seq"] for line in shown] == [2, 3, 4]
    else:
        assert [line.split()[0] for line in shown] == ["2", "3", "4"]
        assert shown[-1].split()[3:] == ["–", "login", "counter", "127.0.0.1", "refused", "wrong", "key", "�[2J"]


def without_key() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ORGANISM_")}


def test_it_cannot_follow_what_is_older(organism: FakeOrganism) -> None:
    result = CliRunner().invoke(build_app(), ["audit", "--follow", "--before", "7", "--url", organism.url])
    assert result.exit_code == ExitCode.USAGE
    assert "leave one of them out" in result.stderr
