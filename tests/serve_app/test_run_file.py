from __future__ import annotations

import os
import subprocess
import sys

import orjson
import pytest

from serve_app.run_file import RUN_FILE, run_file, was_left_behind


def test_the_file_stands_while_the_organism_runs(tmp_path):
    with run_file(tmp_path, "http://127.0.0.1:8000", "organism-hello", "http://127.0.0.1:8265"):
        assert orjson.loads((tmp_path / RUN_FILE).read_bytes()) == {
            "url": "http://127.0.0.1:8000",
            "pid": os.getpid(),
            "namespace": "organism-hello",
            "dashboard": "http://127.0.0.1:8265",
        }
        assert (tmp_path / RUN_FILE).parent.stat().st_mode & 0o777 == 0o700
        assert not was_left_behind(tmp_path)
    assert list((tmp_path / RUN_FILE).parent.iterdir()) == []


def test_it_goes_when_the_run_fails(tmp_path):
    with pytest.raises(KeyError), run_file(tmp_path, "http://x", "n", None):
        raise KeyError
    assert not (tmp_path / RUN_FILE).exists()


def test_a_file_of_a_process_that_is_gone_was_left_behind(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / RUN_FILE).parent.mkdir()
    (tmp_path / RUN_FILE).write_bytes(orjson.dumps({"pid": gone.pid}))
    assert was_left_behind(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"pid": "x"}', b"\xff"])
def test_a_file_that_says_nothing_was_not_left_behind(tmp_path, content):
    assert not was_left_behind(tmp_path)
    (tmp_path / RUN_FILE).parent.mkdir()
    (tmp_path / RUN_FILE).write_bytes(content)
    assert not was_left_behind(tmp_path)
