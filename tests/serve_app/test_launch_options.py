from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.launch_options import LaunchOptions, parse_options


def test_only_the_file_is_needed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_options(["organism.yaml"]) == LaunchOptions(tmp_path / "organism.yaml", None, None, None, None)


def test_a_folder_stands_for_the_file_in_it(tmp_path):
    options = parse_options([str(tmp_path)])
    assert options.file == tmp_path / "organism.yaml"
    assert options.folder == tmp_path


def test_json_and_tls_are_switches():
    options = parse_options(["/x/o.yaml", "--json", "--tls-self-signed"])
    assert (options.as_json, options.tls_self_signed) == (True, True)


def test_all_options():
    options = parse_options(
        ["/x/o.yaml", "--host", "0.0.0.0", "--port", "0", "--address", "auto", "--namespace", "mine"]
    )
    assert options == LaunchOptions(Path("/x/o.yaml"), "0.0.0.0", 0, "auto", "mine")


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_a_wrong_port_is_refused(port, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_options(["o.yaml", "--port", port])
    assert exit_.value.code == 2
    assert "--port" in capsys.readouterr().err
