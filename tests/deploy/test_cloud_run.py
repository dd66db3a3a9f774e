"""deploy/cloudrun: the service files follow Google's schema, and say what docs/production.md asks for."""

import json
from typing import Any

import jsonschema
import pytest

from services.common import deadlines, postgresql
from tests.deploy import files

SCHEMA = files.facts("cloud_run_v1.json")


def problems(service: Any) -> list[str]:
    """Return what is wrong with a service file, by the schema and by the list of annotations in it."""
    found = [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(service)]
    for kind, metadata in (("Service", service["metadata"]), ("Revision", service["spec"]["template"]["metadata"])):
        names = metadata.get("annotations", {})
        allowed = {name for name, kinds in SCHEMA["annotations"].items() if kind in kinds}
        found.extend(f"{name} is not an annotation of a {kind}" for name in names if name not in allowed)
    return found


@pytest.mark.parametrize("service", files.SERVICES)
def test_the_schema(service: str) -> None:
    """The file has only what the Cloud Run Admin API v1 knows, each annotation in its place."""
    assert problems(files.cloud_run(service)) == []


def test_an_error_would_be_found() -> None:
    """A wrong name, a wrong type and an annotation in the wrong place are found."""
    service = files.cloud_run("user")
    service["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"] = "false"
    service["spec"]["template"]["spec"]["containers"][0] |= {"argz": [], "livenessProbe": {"periodSeconds": "10"}}
    assert len(problems(service)) == 3


@pytest.mark.parametrize("service", files.SERVICES)
def test_the_probes(service: str) -> None:
    """A request comes only after the service said that it is ready. A database that is away starts nothing again."""
    container = files.container(service)
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    port = container["ports"][0]["containerPort"]
    assert startup["httpGet"] == {"path": "/readyz", "port": port}
    assert liveness["httpGet"] == {"path": "/healthz", "port": port}
    assert startup["periodSeconds"] * startup["failureThreshold"] >= postgresql.MIGRATION_TURN_SECONDS
    # Cloud Run, "Configure health checks": a startup probe may take 240 s, and its time-out at most its period.
    assert startup["periodSeconds"] * startup["failureThreshold"] <= 240
    assert startup["timeoutSeconds"] <= startup["periodSeconds"]
    assert liveness["timeoutSeconds"] <= liveness["periodSeconds"]


@pytest.mark.parametrize("service", files.SERVICES)
def test_what_a_revision_needs(service: str) -> None:
    """An account of its own, processor time between requests, the network of the data, and time for a slow request."""
    template = files.cloud_run(service)["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert template["spec"]["serviceAccountName"] == f"{service}@${{PROJECT}}.iam.gserviceaccount.com"
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    network = json.loads(annotations["run.googleapis.com/network-interfaces"])
    assert network == [
        {
            "network": files.resource("google_compute_network", "shop")["name"],
            "subnetwork": files.resource("google_compute_subnetwork", "shop")["name"],
        }
    ]
    assert template["spec"]["timeoutSeconds"] > deadlines.MAX_REQUEST_SECONDS
    assert int(annotations["autoscaling.knative.dev/minScale"]) >= 1


def test_the_connections_of_all_instances_fit_into_the_database() -> None:
    """If each service has its maximum of instances and each of them its maximum of connections, some are left."""
    instances = sum(
        int(files.cloud_run(service)["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"])
        for service in files.SERVICES
    )
    allowed = [
        block["database_connections"]["default"]
        for block in files.terraform()["variable"]
        if "database_connections" in block
    ]
    assert instances * (postgresql.POOL_SIZE) <= allowed[0] * 0.9


@pytest.mark.parametrize("service", files.SERVICES)
def test_a_secret_is_never_a_plain_value(service: str) -> None:
    """What docs/production.md lists as a secret comes from Secret Manager, and from a secret of this service only."""
    variables = files.container(service)["env"]
    secret = {entry["name"]: entry["valueFrom"]["secretKeyRef"]["name"] for entry in variables if "valueFrom" in entry}
    assert set(secret) == {"DATABASE_URL", "MSTOKEN_REPLAY_URL", "MSTOKEN_NONCE_SECRET"}
    assert all(name.startswith(f"{service}-") for name in secret.values())


def test_the_certificate_of_redis_is_where_its_url_says() -> None:
    """Memorystore has its own authority, so the URL of the store names a file that each service mounts."""
    urls = files.terraform_locals()["secret_values"]
    for service in files.SERVICES:
        (mount,) = files.container(service)["volumeMounts"]
        (volume,) = files.cloud_run(service)["spec"]["template"]["spec"]["volumes"]
        (item,) = volume["secret"]["items"]
        assert mount["name"] == volume["name"]
        assert f"?ssl_ca_certs={mount['mountPath']}/{item['path']}" in urls
        assert f'"{volume["secret"]["secretName"]}"' in urls
