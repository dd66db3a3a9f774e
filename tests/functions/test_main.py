"""The functions, called through the functions emulator as anyone would."""

import json
import subprocess

import httpx

from emulator.stack import ROOT, Stack

ACCOUNTS = """
import json
from firebase_functions.private import serving
import main
told = {name: function.__firebase_endpoint__.serviceAccountEmail for name, function in serving.get_functions().items()}
print(json.dumps(told))
"""


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
    told = subprocess.run(
        [ROOT / "functions/venv/bin/python", "-c", ACCOUNTS],
        cwd=ROOT / "functions",
        env={"GCLOUD_PROJECT": "real-shop", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout) == {
        "token": "token@",
        "deliver": "delivery@",
        "estimate": "delivery@",
        "health": "delivery@",
    }
