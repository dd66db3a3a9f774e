"""A service does not start with a configuration that would make it accept tokens that it must refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.run.ports import Ports, free_offset
from emulator.run.stack import HTTP_PROTOCOL, ROOT

pytestmark = pytest.mark.process

START_SECONDS = 60


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start Product with this environment. Return its output and its exit status."""
    names = ("GOOGLE_", "FIREBASE_", "MSTOKEN_", "DATABASE_URL")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return subprocess.run(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "services.product.app:create_app"),
            *("--port", str(Ports.shifted(free_offset()).product), "--http", HTTP_PROTOCOL, *arguments),
        ],
        cwd=ROOT,
        env=plain | {"DATABASE_URL": f"sqlite:///{tmp_path / 'product.db'}"} | environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )


def first_event(done: subprocess.CompletedProcess[str]) -> str:
    """Return the event of the first log line, which says why the process ended."""
    assert done.returncode == 3, done.stdout + done.stderr
    line = json.loads(done.stdout.splitlines()[0])
    assert line["level"] == "critical"
    return str(line["event"])


def test_the_emulator_needs_a_demo_project(tmp_path: Path) -> None:
    """If the emulator variable is set and the project id does not begin with demo-, the process ends and says why."""
    done = start(tmp_path, GOOGLE_CLOUD_PROJECT="real-shop", FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9100")
    event = first_event(done)
    assert "FIREBASE_AUTH_EMULATOR_HOST is set (127.0.0.1:9100)" in event
    assert "'real-shop'" in event
    assert "must begin with 'demo-'" in event


def test_a_missing_project_is_named(tmp_path: Path) -> None:
    """The log line names the variable that is not set."""
    assert "GOOGLE_CLOUD_PROJECT is not set" in first_event(start(tmp_path))


def test_two_workers_cannot_store_spent_ids_in_memory(tmp_path: Path) -> None:
    """Each worker would accept a token once. So the workers end, and uvicorn ends with them."""
    done = start(
        tmp_path,
        *("--workers", "2"),
        GOOGLE_CLOUD_PROJECT="demo-shop",
        FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9100",
        MSTOKEN_REPLAY_URL="memory:",
    )
    events = [str(json.loads(line)["event"]) for line in done.stdout.splitlines()]
    assert events
    assert all(event.startswith("MSTOKEN_REPLAY_URL is 'memory:'") for event in events)
    assert "failed to start, stopping the parent process" in done.stderr
