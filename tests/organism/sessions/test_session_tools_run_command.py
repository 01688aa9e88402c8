import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from organism.config import RunCommand as RunCommandSection
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.run_command import RunCommand
from organism.sessions.workspace import Workspace

PYTHON = "python-of-the-tests"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / PYTHON).symlink_to(sys.executable)
    return programs


@pytest.fixture
def context(tmp_path):
    return ToolContext("s", Workspace(tmp_path / "work"))


@pytest.fixture
def make(programs):
    def make(timeout_s=20.0, max_output_bytes=1000, allow=(PYTHON, "ls", "missing-program")):
        section = RunCommandSection(allow=allow, timeout_s=timeout_s, max_output_bytes=max_output_bytes)
        return RunCommand(section, f"{programs}:/usr/bin:/bin")

    return make


def python(code: str, *arguments: str) -> dict:
    return {"command": [PYTHON, "-S", "-c", code, *arguments]}


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def until(condition: Callable[[], bool], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 other processes set no event
            await asyncio.sleep(0.01)


async def until_gone(pid: int) -> None:
    await until(lambda: not is_alive(pid), 5)


async def pid_in(file: Path) -> int:
    await until(lambda: written(file).endswith("\n"))
    return int(written(file))


def written(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_an_allowed_program_runs_in_the_workspace(make, context):
    context.workspace.write_text("a.txt", "x")
    assert await make().call({"command": "ls -1 ."}, context) == "a.txt\n"
    assert await make().call({"command": ["ls", "a.txt"]}, context) == "a.txt\n"


async def test_a_workspace_that_is_not_there_is_made_for_this_user_alone(make, context):
    await make().call({"command": "ls"}, context)
    assert context.workspace.root.stat().st_mode & 0o777 == 0o700


async def test_there_is_no_shell(make, context):
    result = await make().call({"command": "ls $HOME; rm -rf *"}, context)
    assert "exit code" in result


@pytest.mark.parametrize(
    "command", ["rm x", "/bin/ls", "./ls", "../bin/ls", ["LS"], ["ls\x00"], "'", " ", ["missing-program"]], ids=repr
)
async def test_other_programs_are_refused(make, context, command):
    with pytest.raises(ToolFailed):
        await make().call({"command": command}, context)


async def test_a_program_in_the_workspace_is_not_run_in_the_place_of_an_allowed_one(context, programs):
    context.workspace.write_text("tool", "#!/bin/sh\necho mine")
    (context.workspace.root / "tool").chmod(0o755)
    (programs / "tool").symlink_to(context.workspace.root / "tool")
    run = RunCommand(RunCommandSection(allow=("tool",)), f".:{context.workspace.root}:{programs}")
    with pytest.raises(ToolFailed, match="not installed"):
        await run.call({"command": "tool"}, context)


async def test_a_program_sees_no_secrets_and_no_input(make, context, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-the-test")
    shown = await make(max_output_bytes=10_000).call(
        python("import os, sys; print(dict(os.environ), repr(sys.stdin.read()))"), context
    )
    assert "secret-of-the-test" not in shown
    assert shown.endswith("''\n")
    assert str(context.workspace.root) not in shown


async def test_a_failing_program_tells_its_output_and_exit_code(make, context):
    result = await make().call(python("import sys; print('why', file=sys.stderr); sys.exit(3)"), context)
    assert result == "why\n\n[exit code 3]"


async def test_a_program_that_ignores_sigterm_ends_at_the_timeout_with_its_children(make, context, tmp_path):
    code = f"""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()  # a group of its own
    if os.fork() == 0:
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()) + "\\n")
time.sleep(100)
"""
    with pytest.raises(ToolFailed, match="not done after 2 s"):
        await make(timeout_s=2.0).call(python(code), context)
    await until_gone(await pid_in(tmp_path / "pid"))


async def test_what_a_program_leaves_behind_ends_with_it_and_is_not_waited_for(make, context, tmp_path):
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()) + "\\n")
    time.sleep(100)
while not os.path.exists({str(tmp_path / "pid")!r}): time.sleep(0.01)
print("done")
"""
    async with asyncio.timeout(20):
        assert await make(timeout_s=60.0).call(python(code), context) == "done\n"
    await until_gone(await pid_in(tmp_path / "pid"))


async def test_cancelling_ends_the_program(make, context, tmp_path):
    pid_file = tmp_path / "pid"
    code = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid()) + '\\n'); time.sleep(100)"
    running = asyncio.create_task(make().call(python(code), context))
    pid = await pid_in(pid_file)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until_gone(pid)


async def test_a_program_that_prints_endlessly_is_ended_and_its_beginning_is_shown(make, context):
    with pytest.raises(ToolFailed, match="far more than can be shown") as failed:
        await make(timeout_s=60.0).call(python("while True: print('x' * 1000)"), context)
    assert len(str(failed.value)) < 1500


async def test_long_output_is_cut(make, context):
    result = await make().call(python("print('x' * 1999)"), context)
    assert result == "x" * 1000 + "\n[1000 more bytes left out]"


async def test_no_descriptors_are_left(make, context):
    await make().call({"command": "ls"}, context)
    before = open_descriptors()
    for _ in range(3):
        await make().call({"command": "ls"}, context)
    assert open_descriptors() <= before
