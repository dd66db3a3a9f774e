"""What `mstoken doctor` checks about the Auth emulator: whether it may be used, and which program is at its address."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from mstoken.callee.replay.factory import FUNCTIONS_EMULATOR_VARIABLE
from mstoken.caller.answers import json_member
from mstoken.cli.checks import CLOUD_RUN_VARIABLE, Finding
from mstoken.settings import AUTH_EMULATOR_VARIABLE, DEMO_PREFIX, Settings

SIGNED_AUTH = "mstoken emulator"
"""The command that starts the signed Auth emulator."""
SIGNED_AUTH_HOST = "127.0.0.1:9100"
EMULATOR_PORTS: Mapping[int, str] = {
    4000: "the Emulator Suite UI",
    4400: "the emulator hub",
    4500: "the logging emulator",
    5000: "the Hosting emulator",
    5001: "the Functions emulator",
    8080: "the Firestore emulator",
    8085: "the Pub/Sub emulator",
    9000: "the Realtime Database emulator",
    9150: "the Firestore emulator's web socket",
    9199: "the Storage emulator",
    9299: "the Eventarc emulator",
    9499: "the Cloud Tasks emulator",
}
"""The default ports of Firebase's other emulators (Firebase, "Emulator Suite: Configure Emulator Suite")."""

_NAME = "emulator"


def check_emulator(environment: Mapping[str, str]) -> Finding:
    """Check that signatures are verified: firebase-admin verifies none while the emulator's variable is set."""
    host, project = environment.get(AUTH_EMULATOR_VARIABLE), environment.get("GOOGLE_CLOUD_PROJECT", "")
    if not host and project.startswith(DEMO_PREFIX):
        text = f"the project {project} exists on emulators only, and {AUTH_EMULATOR_VARIABLE} is not set"
        return Finding(_NAME, "error", text, _point_to_signed())
    if not host:
        return Finding(_NAME, "ok", f"{AUTH_EMULATOR_VARIABLE} is not set, as required in production")
    advice = f"Unset {AUTH_EMULATOR_VARIABLE}: while it is set, firebase-admin verifies no signatures."
    if environment.get(CLOUD_RUN_VARIABLE) and environment.get(FUNCTIONS_EMULATOR_VARIABLE) != "true":
        return Finding(_NAME, "error", f"{AUTH_EMULATOR_VARIABLE} is {host} on Cloud Run", advice)
    if not project.startswith(DEMO_PREFIX):
        text = f"{AUTH_EMULATOR_VARIABLE} is {host}, but the project {project!r} may be a real one"
        return Finding(
            _NAME, "error", text, f"{advice} On a laptop, use a project id that begins with {DEMO_PREFIX!r}."
        )
    return Finding(_NAME, "ok", f"the project {project} uses the emulator at {host}")


def check_emulator_address(settings: Settings, client: httpx.Client) -> Finding:
    """Check that the signed Auth emulator is at the address that the settings name, with the Auth emulator behind it.

    `client` must not use a proxy, because the library uses none for the emulator.
    """
    address = settings.emulator_host or ""
    try:
        has_certificates = _is_object(client.get(settings.certificates_url))
        root = client.get(f"http://{address}/")
    except httpx.ConnectError:
        text = f"{AUTH_EMULATOR_VARIABLE} is {address}, and nothing listens there"
        return Finding(_NAME, "error", text, _point_to_signed())
    except httpx.HTTPError as error:
        text = f"the program at {address} does not answer HTTP requests ({type(error).__name__})"
        return Finding(_NAME, "error", text, _point_to_signed())
    is_auth = isinstance(json_member(root, "authEmulator"), dict)
    if has_certificates and is_auth:
        return Finding(_NAME, "ok", f"the project {settings.project_id} uses the signed Auth emulator at {address}")
    if has_certificates:
        text = f"the signed Auth emulator at {address} works, but the Auth emulator behind it does not answer"
        return Finding(_NAME, "error", text, "Start it: firebase emulators:start --only auth")
    if is_auth:
        text = f"{address} is the raw Auth emulator: its ID tokens are unsigned, so every callee refuses them"
        return Finding(_NAME, "error", text, _point_to_signed())
    text = f"{address} is not the signed Auth emulator, but {_guess(address, root)}"
    return Finding(_NAME, "error", text, _point_to_signed())


def _guess(address: str, root: httpx.Response) -> str:
    """Return what answers at the address, as far as that can be told. `root` is the answer to GET /."""
    if root.headers.get("Metadata-Flavor") == "Google":
        return "a metadata server or its emulator"
    usual = EMULATOR_PORTS.get(int(address.rpartition(":")[2]))
    kind = root.headers.get("Content-Type", "").partition(";")[0]
    answer = f"GET / is answered with {root.status_code}" + (f" and {kind}" if kind else "")
    return f"{usual}, by its port; {answer}" if usual else f"another program; {answer}"


def _is_object(response: httpx.Response) -> bool:
    """Return whether this is a JSON object that has texts only, as certificates in Google's format are."""
    if not response.is_success:
        return False
    try:
        value: Any = json.loads(response.content)
    except ValueError:
        return False
    return isinstance(value, dict) and bool(value) and all(isinstance(member, str) for member in value.values())


def _point_to_signed() -> str:
    return (
        f"Start the signed Auth emulator ({SIGNED_AUTH}), and set {AUTH_EMULATOR_VARIABLE} to its address, which is "
        f"{SIGNED_AUTH_HOST} by default."
    )
