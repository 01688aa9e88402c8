"""run_command: an allowed program, without a shell, in the workspace."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from organism.config import RunCommand as RunCommandSection
from organism.llm.base import Tool
from organism.private_folder import make_private
from organism.sessions.tools.base import ToolContext, ToolFailed
from organism.sessions.tools.process import Finished, run_process
from organism.sessions.tools.results import blocking

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


class RunCommand:
    """`search_path`: where programs are looked for, as in $PATH; never the workspace."""

    def __init__(self, section: RunCommandSection, search_path: str) -> None:
        self._section = section
        self._search_path = os.pathsep.join(each for each in search_path.split(os.pathsep) if each.startswith("/"))
        self._spec = Tool(
            "run_command",
            f"Runs one program in the workspace: {', '.join(section.allow)}. There is no shell: no pipes, no "
            f"redirections, no variables. It has {section.timeout_s:g} s and no input.",
            {
                "type": "object",
                "properties": {
                    "command": {
                        "anyOf": [
                            {"type": "array", "items": {"type": "string"}, "minItems": 1},
                            {"type": "string", "minLength": 1},
                        ],
                        "description": 'the program and its arguments: ["ls", "-l"] or "ls -l"',
                    }
                },
                "required": ["command"],
                "additionalProperties": False,
            },
        )

    @property
    def spec(self) -> Tool:
        return self._spec

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        name, *rest = _split(arguments["command"])
        root = await blocking(_made, context.workspace.root)
        program = self._program(name, root)
        env = {"PATH": self._search_path, "HOME": str(root), "LANG": "C.UTF-8"}
        try:
            finished = await run_process(
                [program, *rest], cwd=root, env=env,
                timeout_s=self._section.timeout_s, max_output_bytes=self._section.max_output_bytes,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise ToolFailed(f"{name} cannot be started: {getattr(error, 'strerror', None) or error}") from error
        return _told(name, finished, root)

    def _program(self, name: str, root: Path) -> str:
        if name not in self._section.allow:
            allowed = ", ".join(self._section.allow)
            raise ToolFailed(f"{name[:100]!r} may not be run; allowed programs, by name: {allowed}")
        found = shutil.which(name, path=self._search_path) if "/" not in name else None
        if found is None or Path(found).resolve().is_relative_to(root.resolve()):
            raise ToolFailed(f"{name} is not installed on this machine")
        return found


def _split(command: str | list[str]) -> list[str]:
    try:
        argv = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise ToolFailed(f"the command cannot be split ({error}); give it as a list") from error
    if not argv:
        raise ToolFailed("the command is empty")
    if any("\x00" in each for each in argv):
        raise ToolFailed("the command contains a NUL character")
    return argv


def _made(root: Path) -> Path:
    make_private(root)
    return root.resolve()


def _told(name: str, finished: Finished, root: Path) -> str:
    """What a model is told; the place of the workspace on the host is left out of it."""
    output = finished.output.decode(errors="replace").replace(str(root), ".")
    if finished.left_out:
        output += f"\n[{finished.left_out} more bytes left out]"
    if finished.reason is not None:
        raise ToolFailed(f"{name} was ended: {finished.reason}. Its output:\n{output}")
    if finished.exit_code != 0:
        return f"{output}\n[exit code {finished.exit_code}]"
    return output or "(no output)"
