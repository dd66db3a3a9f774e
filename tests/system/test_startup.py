"""What does not start: a configuration under which tokens would count for more than they should."""

import json
import os
import subprocess
import sys
from pathlib import Path

from emulator.run.ports import Ports, free_offset
from emulator.run.stack import ROOT

START_SECONDS = 60


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What Product says and how it ends when it is started with this environment."""
    names = ("GOOGLE_", "FIREBASE_", "MSTOKEN_", "DATABASE_URL")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return subprocess.run(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "services.product.app:create_app"),
            *("--port", str(Ports.shifted(free_offset()).product), *arguments),
        ],
        cwd=ROOT,
        env=plain | {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'product.db'}"} | environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The first line of the log, which says what is wrong; the process ended because of it."""
    assert done.returncode == 3, done.stdout + done.stderr
    line = json.loads(done.stdout.splitlines()[0])
    assert line["level"] == "critical"
    return str(line["event"])


def test_no_emulator_for_a_project_that_may_be_real(tmp_path: Path) -> None:
    """With the emulator's variable set and a project that is not demo-*, the process ends and says what is wanted."""
    done = start(tmp_path, GOOGLE_CLOUD_PROJECT="real-shop", FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9100")
    event = said(done)
    assert "FIREBASE_AUTH_EMULATOR_HOST is set (127.0.0.1:9100)" in event
    assert "'real-shop'" in event
    assert "'demo-' is wanted" in event


def test_a_missing_project_is_named(tmp_path: Path) -> None:
    """The variable that is not set is in the one line that is printed."""
    assert "GOOGLE_CLOUD_PROJECT is not set" in said(start(tmp_path))


def test_two_workers_do_not_keep_spent_ids_in_memory(tmp_path: Path) -> None:
    """Each would let a token in once: they end, and uvicorn with them."""
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
