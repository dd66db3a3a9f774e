"""deploy/plan.py: what `make deploy-plan` says."""

import io
import re
from pathlib import Path

import pytest

from deploy import plan
from deploy.images import NO_PINS
from tests.deploy import files

EXAMPLE = files.DEPLOY / "deploy.tfvars.example"
FILLED_IN = {
    "project": "shop-7f3a2",
    "api_key": "AIza-example",
    "image": f"us-central1-docker.pkg.dev/shop-7f3a2/shop/services@sha256:{'0' * 64}",
    "state_bucket": "shop-7f3a2-state",
    "billing_account": "0123AB-4567CD-89EF01",
    "alert_email": "ops@example.com",
}


def variables(folder: Path, **values: str) -> Path:
    """Write the file of variables, with these values in place of the empty ones."""
    path = folder / "deploy.tfvars"
    text = EXAMPLE.read_text()
    for name, value in values.items():
        text = re.sub(rf'^({name}\s*=) "[^"]*"', rf'\1 "{value}"', text, flags=re.MULTILINE)
    path.write_text(text)
    return path


def nothing_is_installed(_program: str) -> str | None:
    return None


def everything_is_installed(program: str) -> str | None:
    return f"/usr/bin/{program}"


def test_the_resources() -> None:
    """Each file has the resources that its name promises. Several of one kind are marked."""
    found = plan.resources()
    assert [str(item) for item in found["data.tf"]][:2] == [
        "google_sql_database_instance.shop",
        "random_password.database[*]",
    ]
    assert "google_service_account.account[*]" in map(str, found["accounts.tf"])
    kinds = {item.kind for items in found.values() for item in items}
    assert kinds >= {
        *("google_cloud_run_v2_service", "google_sql_database_instance", "google_redis_instance"),
        *("google_secret_manager_secret", "google_cloud_tasks_queue", "google_billing_budget", "terraform_data"),
    }


def test_without_anything_it_says_what_is_missing(tmp_path: Path) -> None:
    """On a machine without Terraform it lists the resources, then each thing that is missing. The exit status is 1."""
    out = io.StringIO()
    status = plan.main(
        out, which=nothing_is_installed, variables=tmp_path / "deploy.tfvars", pinned=tmp_path / "images.env"
    )
    text = out.getvalue()
    assert status == 1
    assert "google_redis_instance" in text
    assert "No plan can be made here. This is missing:" in text
    for program in plan.TOOLS:
        assert f"  - {program} is not installed (" in text
    assert "  - deploy.tfvars does not exist. Copy deploy.tfvars.example to it, and fill it in.\n" in text
    assert f"  - {NO_PINS}\n" in text
    assert text.endswith("Nothing was changed. docs/deploying.md has the steps.\n")


def test_a_file_that_is_filled_in(tmp_path: Path) -> None:
    """Nothing is missing."""
    assert plan.missing_variables(variables(tmp_path, **FILLED_IN)) == []


@pytest.mark.parametrize("name", FILLED_IN)
def test_a_value_that_is_missing(tmp_path: Path, name: str) -> None:
    """The sentence names the variable, and says what it is for."""
    [sentence] = plan.missing_variables(variables(tmp_path, **FILLED_IN | {name: ""}))
    assert sentence.startswith(f"{name} in deploy.tfvars has no value: ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"project": "demo-shop"}, "exists on emulators only"),
        ({"image": "us-central1-docker.pkg.dev/shop-7f3a2/shop/services:latest"}, "must end with a digest"),
    ],
)
def test_a_value_that_is_wrong(tmp_path: Path, change: dict[str, str], text: str) -> None:
    """A project of the emulators, and an image without a digest, are found before Terraform runs."""
    [sentence] = plan.missing_variables(variables(tmp_path, **FILLED_IN | change))
    assert text in sentence


def test_a_variable_that_does_not_exist(tmp_path: Path) -> None:
    """Terraform would only warn of a name that is misspelt."""
    path = variables(tmp_path, **FILLED_IN)
    path.write_text(path.read_text() + "regoin = 1\n")
    assert plan.missing_variables(path) == ["regoin in deploy.tfvars is not a variable of deploy/terraform."]


def test_programs() -> None:
    """If all are installed, none is reported."""
    assert plan.missing_tools(everything_is_installed) == []
    assert len(plan.missing_tools(nothing_is_installed)) == len(plan.TOOLS)


def test_the_commands_change_nothing() -> None:
    """They initialize Terraform with the bucket of the variables, and plan. Nothing is applied."""
    initialize, make_plan = plan.commands("shop-7f3a2-state")
    assert initialize[2:] == ["init", "-input=false", "-backend-config=bucket=shop-7f3a2-state"]
    assert make_plan[2:] == ["plan", "-input=false", f"-var-file={plan.VARIABLES}"]
