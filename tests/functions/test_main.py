"""The functions, called through the functions emulator as anyone would."""

import httpx

from emulator.stack import Stack


def test_health_names_the_project_and_the_runtime(emulators: Stack) -> None:
    """The function `health` answers that it is up, for which project, on which Python."""
    answer = httpx.get(emulators.function_url("health"), timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["status"] == "ok"
    assert body["project"] == emulators.project
    assert body["runtime"].startswith("python 3.")
