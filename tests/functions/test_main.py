"""The functions, called through the functions emulator as anyone would."""

import json
import subprocess

import httpx

from emulator.run.stack import ROOT, Stack

ACCOUNTS = """
import json
from firebase_functions.private import serving
import main
told = {name: function.__firebase_endpoint__.serviceAccountEmail for name, function in serving.get_functions().items()}
print(json.dumps(told))
"""

LINES = """
import logging
import main
log = logging.getLogger("mstoken.audit")
log.info("token", extra={"verdict": "issued", "mode": None})
log.warning("token", extra={"reason": "sent \\ud800, and\\na line"})
try:
    raise ValueError("a defect")
except ValueError:
    log.exception("broken")
"""


def in_production(script: str) -> str:
    """What a process of the deployed functions prints."""
    told = subprocess.run(
        [ROOT / "functions/venv/bin/python", "-c", script],
        cwd=ROOT / "functions",
        env={"GCLOUD_PROJECT": "real-shop", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return told.stdout


def test_health_names_the_project_and_the_runtime(emulators: Stack) -> None:
    """The function `health` answers that it is up, for which project, on which Python."""
    answer = httpx.get(emulators.function_url("health"), timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["status"] == "ok"
    assert body["project"] == emulators.project
    assert body["runtime"].startswith("python 3.")


def test_only_the_token_service_runs_as_the_account_that_may_sign() -> None:
    """Deployed, all other functions run as `delivery`, and none as the project's default account."""
    assert json.loads(in_production(ACCOUNTS)) == {
        "token": "token@",
        "deliver": "delivery@",
        "estimate": "delivery@",
        "health": "delivery@",
    }


def test_the_log_is_one_json_object_a_line() -> None:
    """With the severity that Cloud Logging knows, whatever stands in it."""
    issued, refused, broken = map(json.loads, in_production(LINES).splitlines())
    assert issued == {
        "severity": "INFO",
        "message": "token",
        "logger": "mstoken.audit",
        "verdict": "issued",
        "mode": None,
    }
    assert (refused["severity"], refused["reason"]) == ("WARNING", "sent \\ud800, and\na line")
    assert broken["severity"] == "ERROR"
    assert "a defect" in broken["exception"]
