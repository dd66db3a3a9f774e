"""deploy/compose.yaml: it follows the Compose specification, and locks the services in as production does."""

import re
from pathlib import Path

import pytest
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from deploy.images import PINNED, TAGS, tags
from tests.deploy import files


def test_the_schema() -> None:
    """The file follows the schema of the Compose specification."""
    path = str(files.DEPLOY / "compose.yaml")
    result = CliRunner().invoke(check_jsonschema, ["--builtin-schema", "vendor.compose-spec", path])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("service", files.SERVICES)
def test_a_service_can_write_nothing_but_tmp(service: str) -> None:
    """Its root is read-only, it has no capabilities, and it cannot get any."""
    description = files.compose()["services"][service]
    assert description["read_only"] is True
    assert description["cap_drop"] == ["ALL"]
    assert description["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in description
    assert "volumes" not in description


def test_ports_are_published_on_this_machine_only() -> None:
    """No port is open to the network: the emulators give an identity to everyone who asks."""
    published = [port for description in files.compose()["services"].values() for port in description.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_every_image_is_pinned_or_built_here() -> None:
    """Each image comes from deploy/images.env, whose variables are those of deploy/images.txt."""
    text = (files.DEPLOY / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+_IMAGE):\?", text))
    assert used == set(tags(TAGS.read_text()))
    images = [description["image"] for description in files.compose()["services"].values()]
    assert [image for image in images if not re.fullmatch(r"\$\{\w+_IMAGE:\?.+\}|shop(-\w+)?:local", image)] == []
    assert PINNED.name in text


def test_every_file_that_is_mounted_exists() -> None:
    """Docker would make an empty folder of a file that is missing."""
    mounts = [
        volume.partition(":")[0]
        for description in files.compose()["services"].values()
        for volume in description.get("volumes", [])
        if volume.startswith(".")
    ]
    missing = [mount for mount in mounts if not (files.DEPLOY / mount).exists()]
    assert missing == []


def test_prometheus_asks_each_service() -> None:
    """The port on which a service serves its metrics is the first one of its targets."""
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in files.loaded(files.DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]
    }
    for service in files.SERVICES:
        environment = files.compose()["services"][service]["environment"]
        assert environment["OTEL_METRICS_EXPORTER"] == "prometheus"
        assert targets[service][0] == f"127.0.0.1:{environment['OTEL_EXPORTER_PROMETHEUS_PORT']}"


def test_each_service_has_its_own_database() -> None:
    """The script that makes the databases makes those, and the users, that the services connect to."""
    script = (files.DEPLOY / "compose/databases.sql").read_text()
    for service in files.SERVICES:
        url = files.compose()["services"][service]["environment"]["DATABASE_URL"]
        assert url == f"postgresql+asyncpg://{service}:local@postgresql/{service}"
        assert re.search(rf'CREATE DATABASE "?{service}"? OWNER "?{service}"?;', script)


def test_the_build_context_leaves_secrets_out() -> None:
    """The services are built from an allow-list. The image of the emulators leaves out environments and keys."""
    services = Path(files.DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert next(line for line in services if line and not line.startswith("#")) == "*"
    emulators = set(Path(files.DEPLOY / "docker/emulators.Dockerfile.dockerignore").read_text().splitlines())
    assert {"**/.env*", "**/*.pem", "**/*.tfvars", "**/*.tfstate*", ".data"} <= emulators
