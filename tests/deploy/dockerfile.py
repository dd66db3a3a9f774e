"""Reads a Dockerfile as far as ours goes: stages, and instructions with their arguments."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One stage of a build: its name, the image it begins with, and its instructions after FROM, in order."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        """Return the arguments of the last step with this instruction."""
        return [arguments for name, arguments in self.steps if name == instruction][-1]

    def variables(self) -> dict[str, str]:
        """Return the variables that ENV sets."""
        pairs = [pair for name, arguments in self.steps if name == "ENV" for pair in shlex.split(arguments)]
        return dict(pair.split("=", 1) for pair in pairs)


def stages(path: Path) -> list[Stage]:
    """Return the stages of a Dockerfile."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = arguments.partition(" AS ")
            found.append(Stage(name, base))
        elif instruction and found:
            found[-1].steps.append((instruction, arguments.strip()))
    return found


def exec_form(arguments: str) -> list[str]:
    """Return a command in exec form, such as ENTRYPOINT ["python", "-m", "uvicorn"]."""
    command: list[str] = json.loads(arguments.removeprefix("CMD ") if arguments.startswith("CMD ") else arguments)
    return command
