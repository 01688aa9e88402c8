from __future__ import annotations

from serve_app.worker_output import WorkerOutput


def batch(*lines: str, **fields: object) -> dict[str, object]:
    return {"lines": list(lines), "is_err": False, "job": "01", "actor_name": "agent:greeter", "pid": 7} | fields


def test_each_line_stands_behind_the_name_of_the_agent(capsys):
    WorkerOutput("01")(batch("Hello", "Dan"))
    assert capsys.readouterr().out == "greeter | Hello\ngreeter | Dan\n"


def test_an_agent_has_the_same_name_after_a_reload(capsys):
    WorkerOutput("01")(batch("Hello", actor_name="agent:greeter@3"))
    assert capsys.readouterr().out == "greeter | Hello\n"


def test_what_goes_to_stderr_stays_there(capsys):
    WorkerOutput("01")(batch("oh", is_err=True))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "greeter | oh\n")


def test_secrets_are_masked_also_those_of_several_lines(capsys):
    WorkerOutput("01")(batch("token=abc", "-----BEGIN PRIVATE KEY-----", "MII", "-----END PRIVATE KEY-----", "Dan"))
    assert capsys.readouterr().out == "greeter | token=***\ngreeter | ***\ngreeter | Dan\n"


def test_others_are_not_shown(capsys):
    show = WorkerOutput("01")
    show(batch("of another job", job="02"))
    show(batch("of Serve", actor_name="ServeController"))
    show(batch("of Ray", actor_name=None, job=None, pid="autoscaler"))
    assert capsys.readouterr().out == ""
