"""deploy/terraform: its syntax, and the names of resources, arguments and attributes.

Terraform itself and Google's provider are not needed. What the provider accepts is in google_provider.json.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.plan import TERRAFORM, read
from tests.deploy import files

FACTS = files.facts("google_provider.json")["resources"]
META_ARGUMENTS = {"for_each", "count", "depends_on", "lifecycle", "provisioner", "provider"}
TEXT = "\n".join(path.read_text() for path in sorted(TERRAFORM.glob("*.tf")))


def problems(body: dict[str, Any], allowed: dict[str, Any], place: str) -> Iterator[str]:
    """Yield a sentence for each argument that the provider does not know, or that is missing."""
    names = set()
    for name, value in body.items():
        if name == "dynamic":
            for block in value:
                for label, content in block.items():
                    names.add(label)
                    yield from inner(content["content"], label, allowed, place)
        elif name not in META_ARGUMENTS:
            names.add(name)
            yield from inner(value, name, allowed, place)
    required = {name for name, kind in allowed.items() if name != "!" and (kind is True or (kind and "!" in kind))}
    yield from (f"{place}.{name} is missing" for name in sorted(required - names))


def inner(value: Any, name: str, allowed: dict[str, Any], place: str) -> Iterator[str]:
    if name not in allowed:
        yield f"{place}.{name} is unknown"
    elif isinstance(allowed[name], dict):
        for block in value:
            yield from problems(block, allowed[name], f"{place}.{name}")


def google_resources() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (kind, name, body)
        for block in files.terraform()["resource"]
        for kind, named in block.items()
        for name, body in named.items()
        if kind.startswith("google_")
    ]


@pytest.mark.parametrize("path", sorted(TERRAFORM.glob("*.tf")), ids=lambda path: path.name)
def test_the_syntax(path: Any) -> None:
    """Each file can be parsed."""
    assert read(path)


@pytest.mark.parametrize(
    ("kind", "body"), [pytest.param(kind, body, id=f"{kind}.{name}") for kind, name, body in google_resources()]
)
def test_the_arguments_of_a_resource(kind: str, body: dict[str, Any]) -> None:
    """The provider knows each argument and block, and no required one is missing."""
    assert list(problems(body, FACTS[kind]["arguments"], kind)) == []


def test_a_wrong_argument_would_be_found() -> None:
    """A name that does not exist is found in a block too, and so is a missing one."""
    body = {"name": "x", "settings": [{"teir": "small"}]}
    assert list(problems(body, FACTS["google_sql_database_instance"]["arguments"], "sql")) == [
        "sql.settings.teir is unknown",
        "sql.settings.tier is missing",
        "sql.database_version is missing",
    ]


def test_references_exist() -> None:
    """Each resource, attribute, variable and local value that an expression uses is there."""
    blocks = files.terraform()["resource"] + files.terraform()["data"]
    declared = {f"{kind}.{name}" for block in blocks for kind, named in block.items() for name in named}
    used = re.findall(r"\b((?:google|random|terraform|local)_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?", TEXT)
    assert len(used) > 40
    assert {f"{kind}.{name}" for kind, name, _ in used} <= declared
    unknown = [
        f"{kind}.{attribute}"
        for kind, _, attribute in used
        if attribute and kind in FACTS and attribute not in FACTS[kind]["attributes"]
    ]
    assert unknown == []
    variables = {name for block in files.terraform()["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", TEXT)) == variables - {"state_bucket"}
    assert set(re.findall(r"\blocal\.(\w+)", TEXT)) <= set(files.terraform_locals())


def test_the_example_has_every_variable() -> None:
    """The one file of variables that an operator copies has all of them, and no others."""
    variables = {name for block in files.terraform()["variable"] for name in block}
    assert set(read(files.DEPLOY / "deploy.tfvars.example")) == variables


def test_each_api_that_is_used_is_enabled() -> None:
    """Each kind of resource belongs to an API of the list."""
    apis = {
        "google_artifact_registry": "artifactregistry",
        "google_billing_budget": "billingbudgets",
        "google_cloud_run": "run",
        "google_cloud_tasks": "cloudtasks",
        "google_compute": "compute",
        "google_firestore": "firestore",
        "google_monitoring": "monitoring",
        "google_redis": "redis",
        "google_secret_manager": "secretmanager",
        "google_service_account": "iam",
        "google_service_networking": "servicenetworking",
        "google_sql": "sqladmin",
    }
    listed = files.terraform_locals()["apis"]
    kinds = {kind for kind, _, _ in google_resources()} - {"google_project_service", "google_project_iam_member"}
    for kind in kinds:
        (api,) = [api for prefix, api in apis.items() if kind.startswith(prefix)]
        assert f'"{api}"' in listed


def test_the_store_of_spent_ids_evicts_nothing() -> None:
    """Memorystore's default would evict ids, so that a token could be used twice; a service is not ready with it."""
    redis = files.resource("google_redis_instance", "shop")
    assert redis["redis_configs"] == {"maxmemory-policy": "noeviction"}
    assert (redis["auth_enabled"], redis["transit_encryption_mode"]) == (True, "SERVER_AUTHENTICATION")
    assert tuple(map(int, redis["redis_version"].split("_")[1:])) >= (7, 0)


def test_the_state_and_the_secrets_are_not_in_git() -> None:
    """Passwords are in Terraform's state, and a filled-in file of variables names the project."""
    ignored = (files.ROOT / ".gitignore").read_text().splitlines()
    assert {"*.tfstate*", ".terraform/", "deploy/deploy.tfvars", "functions/.env.*"} <= set(ignored)
