"""The files of deploy/ as Python sees them, and facts of docs/production.md."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.plan import TERRAFORM, read

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = ("user", "product", "billing")
PRODUCTION = (ROOT / "docs/production.md").read_text()


def loaded(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text())


def cloud_run(service: str) -> Any:
    """Return the description of a service on Cloud Run."""
    return loaded(DEPLOY / "cloudrun" / f"{service}.yaml")


def container(service: str) -> Any:
    """Return the one container of a service on Cloud Run."""
    (only,) = cloud_run(service)["spec"]["template"]["spec"]["containers"]
    return only


def compose() -> Any:
    """Return the compose file."""
    return loaded(DEPLOY / "compose.yaml")


@cache
def terraform() -> dict[str, list[Any]]:
    """Return the blocks of all Terraform files: kind of block -> blocks. All tests share them."""
    blocks: dict[str, list[Any]] = {}
    for path in sorted(TERRAFORM.glob("*.tf")):
        for kind, found in read(path).items():
            blocks.setdefault(kind, []).extend(found)
    return blocks


def terraform_locals() -> dict[str, Any]:
    """Return name -> value of all `locals`, with expressions as texts."""
    return {name: value for block in terraform()["locals"] for name, value in block.items()}


def resource(kind: str, name: str) -> Any:
    """Return the body of one resource."""
    (found,) = [block[kind][name] for block in terraform()["resource"] if name in block.get(kind, {})]
    return found


def facts(name: str) -> Any:
    """Return the content of a JSON file beside this one."""
    return json.loads(Path(__file__).with_name(name).read_text())


def table_of_accounts() -> dict[str, str]:
    """Return account -> what docs/production.md says about its roles."""
    section = PRODUCTION.partition("## Service accounts")[2].partition("\n##")[0]
    return dict(re.findall(r"^\| `(\w+)@` \|[^|]*\| (.*) \|$", section, re.MULTILINE))
