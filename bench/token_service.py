"""Measures how much time the token service adds to a sign-in, in the emulators.

This is wall-clock time, because most of it is waiting.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import ROOT, Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE

PROJECT = "demo-bench"


def sign_ins() -> tuple[float, float]:
    """Return the median times of sign-ins, in seconds: with custom tokens signed here, and with the token service."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Ports.shifted(free_offset()), Path(folder), project=PROJECT)
        supervisor = Supervisor()
        try:
            stack.start_emulators(supervisor)
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "bench.sign_in"],
                cwd=ROOT,
                env=os.environ
                | stack.identity_environment("billing")
                | {"GOOGLE_CLOUD_PROJECT": PROJECT, AUTH_EMULATOR_VARIABLE: stack.auth_host},
                stdout=subprocess.PIPE,
                check=True,
            )
        finally:
            supervisor.stop()
    here, brokered = json.loads(done.stdout)
    return statistics.median(here), statistics.median(brokered)
