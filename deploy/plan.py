"""`make deploy-plan`: show what a deployment changes, and what is missing for it.

It reads deploy/terraform and deploy/deploy.tfvars. If Terraform and everything else is there, it runs `terraform plan`,
which changes nothing.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import hcl2

from deploy.images import NO_PINS, PINNED, ROOT

FOLDER = Path(__file__).resolve().parent
TERRAFORM = FOLDER / "terraform"
VARIABLES = FOLDER / "deploy.tfvars"
TOOLS = {
    "terraform": "1.9 or newer; it makes the plan and carries it out",
    "gcloud": "for Terraform's credentials: gcloud auth application-default login",
    "docker": "with buildx; it builds the image of the services",
    "npx": "comes with Node.js; it runs firebase-tools, which deploys the functions",
}


@dataclass(frozen=True)
class Resource:
    """One resource of the configuration: its type, its name, and whether there are several of it."""

    kind: str
    name: str
    repeated: bool

    def __str__(self) -> str:
        """Return its address, with [*] if there are several."""
        return f"{self.kind}.{self.name}{'[*]' if self.repeated else ''}"


def unquoted(value: Any) -> Any:
    """Return a value of python-hcl2 without the quotes that it keeps around names and texts, and without comments."""
    if isinstance(value, dict):
        return {
            unquoted(key): unquoted(item) for key, item in value.items() if key not in ("__comments__", "__is_block__")
        }
    if isinstance(value, list):
        return [unquoted(item) for item in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def read(path: Path) -> dict[str, Any]:
    """Return the content of a file in Terraform's language. Raises an error of lark if it is not valid."""
    with path.open() as file:
        content: dict[str, Any] = unquoted(hcl2.load(file))
    return content


def resources(folder: Path = TERRAFORM) -> dict[str, list[Resource]]:
    """Return file name -> the resources that it has."""
    found: dict[str, list[Resource]] = {}
    for path in sorted(folder.glob("*.tf")):
        blocks = read(path).get("resource", [])
        found[path.name] = [
            Resource(kind, name, "for_each" in body or "count" in body)
            for block in blocks
            for kind, named in block.items()
            for name, body in named.items()
        ]
    return {name: items for name, items in found.items() if items}


def missing_variables(path: Path = VARIABLES, folder: Path = TERRAFORM) -> list[str]:
    """Return a sentence for each variable that has no usable value."""
    example = path.with_name("deploy.tfvars.example")
    if not path.exists():
        return [f"{_shown(path)} does not exist. Copy {_shown(example)} to it, and fill it in."]
    values = read(path)
    declared = {name: body for block in read(folder / "variables.tf")["variable"] for name, body in block.items()}
    sentences = [
        f"{name} in {_shown(path)} has no value: {body['description']}"
        for name, body in declared.items()
        if values.get(name) in (None, "") and ("default" not in body or name in values)
    ]
    sentences += [
        f"{name} in {_shown(path)} is not a variable of deploy/terraform." for name in values if name not in declared
    ]
    project, image = str(values.get("project") or ""), str(values.get("image") or "")
    if project.startswith("demo-"):
        sentences.append(f"project in {_shown(path)} is {project!r}: such a project exists on emulators only.")
    if image and not re.search(r"@sha256:[0-9a-f]{64}$", image):
        sentences.append(f"image in {_shown(path)} is {image!r}: it must end with a digest (@sha256:…).")
    return sentences


def missing_tools(which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """Return a sentence for each program that is not installed."""
    return [f"{name} is not installed ({why})." for name, why in TOOLS.items() if which(name) is None]


def commands(bucket: str) -> list[list[str]]:
    """Return the commands that make the plan. They change nothing in the project."""
    terraform = ["terraform", f"-chdir={TERRAFORM}"]
    return [
        [*terraform, "init", "-input=false", f"-backend-config=bucket={bucket}"],
        [*terraform, "plan", "-input=false", f"-var-file={VARIABLES}"],
    ]


def report(out: TextIO, described: dict[str, list[Resource]], missing: Sequence[str]) -> None:
    """Write what the configuration has, and what is missing."""
    total = sum(map(len, described.values()))
    out.write(f"deploy/terraform describes {total} resources ([*] stands for several):\n")
    for name, items in described.items():
        out.write(f"\n  {name}\n")
        out.writelines(f"    {kind:<40} {', '.join(group)}\n" for kind, group in _grouped(items))
    out.write("\nThe services are described in deploy/cloudrun, the functions in functions/main.py.\n")
    if missing:
        out.write("\nNo plan can be made here. This is missing:\n")
        out.writelines(f"  - {sentence}\n" for sentence in missing)
        out.write("\nNothing was changed. docs/deploying.md has the steps.\n")


def main(
    out: TextIO = sys.stdout,
    *,
    which: Callable[[str], str | None] = shutil.which,
    variables: Path = VARIABLES,
    pinned: Path = PINNED,
) -> int:
    """Report, and run `terraform plan` if nothing is missing. Return the exit status: 1 if something is missing."""
    missing = [*missing_tools(which), *missing_variables(variables)]
    if not pinned.exists():
        missing.append(NO_PINS)
    report(out, resources(), missing)
    if missing:
        return 1
    out.flush()
    for command in commands(str(read(variables)["state_bucket"])):
        status = subprocess.run(command, check=False).returncode  # noqa: S603 - written above; the bucket is the operator's
        if status:
            return status
    out.write("\nThis is the plan; nothing was changed. To carry it out: docs/deploying.md, step 6.\n")
    return 0


def _grouped(items: Iterable[Resource]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for item in items:
        groups.setdefault(item.kind, []).append(str(item).partition(".")[2])
    return list(groups.items())


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


if __name__ == "__main__":
    sys.exit(main())
