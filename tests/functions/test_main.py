"""The functions: what the functions emulator answers, and how the deployed functions are configured."""

import json
import subprocess
from datetime import UTC, datetime

import httpx
import pytest

from emulator.run.stack import ROOT, Stack

ACCOUNTS = """
import json
from firebase_functions.private import serving
import main
functions = serving.get_functions()
accounts = {name: function.__firebase_endpoint__.serviceAccountEmail for name, function in functions.items()}
print(json.dumps(accounts))
"""

LINES = """
import logging
import main
log = logging.getLogger("mstoken.audit")
log.info("token svc:billing", extra={"event": "token", "verdict": "issued", "mode": None})
log.warning("token", extra={"reason": "sent \\ud800, and\\na line"})
try:
    raise ValueError("a defect")
except ValueError:
    log.exception("broken")
"""


def in_production(script: str) -> str:
    """Return what a script prints in a process that has the environment of the deployed functions."""
    done = subprocess.run(
        [ROOT / "functions/venv/bin/python", "-c", script],
        cwd=ROOT / "functions",
        env={"GCLOUD_PROJECT": "real-shop", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def test_health_names_the_project_and_the_runtime(emulators: Stack) -> None:
    """The function `health` answers with the project and the Python version."""
    answer = httpx.get(emulators.function_url("health"), timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["status"] == "ok"
    assert body["project"] == emulators.project
    assert body["runtime"].startswith("python 3.")


@pytest.mark.process
def test_only_the_token_service_runs_as_the_account_that_may_sign() -> None:
    """All other functions are deployed to run as `delivery`, and none as the project's default account."""
    assert json.loads(in_production(ACCOUNTS)) == {
        "token": "token@",
        "deliver": "delivery@",
        "estimate": "delivery@",
        "health": "delivery@",
    }


@pytest.mark.process
def test_each_log_line_is_a_json_object() -> None:
    """Each line is one JSON object with a severity and a time of Cloud Logging, whatever characters the message has."""
    before = datetime.now(UTC)
    issued, refused, broken = map(json.loads, in_production(LINES).splitlines())
    assert before <= datetime.fromisoformat(issued.pop("time")) <= datetime.now(UTC)
    assert issued == {
        "severity": "INFO",
        "message": "token svc:billing",
        "event": "token",
        "logger": "mstoken.audit",
        "verdict": "issued",
        "mode": None,
    }
    assert (refused["severity"], refused["reason"]) == ("WARNING", "sent \\ud800, and\na line")
    assert broken["severity"] == "ERROR"
    assert "a defect" in broken["exception"]
