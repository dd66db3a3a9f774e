"""functions/telemetry.py: a function exports a trace without anything secret or personal, or nothing at all.

The functions have an environment of their own, so they run in a process of their own.
"""

import os
import subprocess

import pytest

from emulator.run.stack import ROOT
from tests.otlp import otlp_receiver

pytestmark = pytest.mark.process

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
WORK = """
from contextlib import suppress
import httpx
from opentelemetry import trace
from werkzeug.datastructures import Headers
import telemetry

telemetry.configure("functions")
headers = Headers({
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Authorization": "Bearer token-of-maya",
    "User-Agent": "browser of maya",
})
with suppress(ValueError), telemetry.request_span("deliver", headers):
    with suppress(httpx.TransportError):
        httpx.post(
            "http://127.0.0.1:1/users/maya/accounts:signUp?key=secret-key",
            headers={"X-MS-TOKEN": "token-of-billing"},
            json={"email": "maya@example.com"},
        )
    span = trace.get_current_span()
    span.set_attributes({"enduser.id": "maya", "an.attribute.of.tomorrow": "maya"})
    span.record_exception(KeyError("maya"))
    print(telemetry.trace_ids()["trace_id"])
    raise ValueError("maya")
"""
OFF = """
import sys
from werkzeug.datastructures import Headers
import telemetry

telemetry.configure("functions")
with telemetry.request_span("deliver", Headers()):
    print(telemetry.trace_ids(), "opentelemetry.sdk" in sys.modules)
"""


def run(script: str, **variables: str) -> str:
    """Return what a script prints that runs as a function does, with these variables of OpenTelemetry."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "COVERAGE_"))}
    done = subprocess.run(
        [ROOT / "functions/venv/bin/python", "-c", script],
        cwd=ROOT / "functions",
        env=environment | variables | {"PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


def test_nothing_secret_or_personal_is_exported() -> None:
    """The trace of a function has no token, no key, no path, no query, and nothing that an error or a header quotes.

    It goes on with the trace of the caller, and has the calls that the function makes.
    """
    with otlp_receiver() as receiver:
        assert run(WORK, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) == TRACE_ID
        nodes, exported = receiver.trace(TRACE_ID), "".join(receiver.texts)
    assert sorted(node.title for node in nodes) == ["functions: POST", "functions: deliver"]
    assert 'key: "faas.name"' in exported
    assert 'string_value: "ValueError"' in exported
    for secret in "maya", "token-of", "secret-key", "/users/", "browser":
        assert secret not in exported


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}],
    ids=["no endpoint", "disabled"],
)
def test_without_an_endpoint_nothing_is_traced(variables: dict[str, str]) -> None:
    """Then the SDK is not even imported, and log records have no ids of a trace."""
    assert run(OFF, **variables) == "{} False"
