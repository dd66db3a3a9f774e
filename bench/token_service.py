"""What the token service adds to a sign-in in the emulator: time on the clock, since most of it is waiting."""

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

PROJECT = "demo-bench"


def sign_ins() -> tuple[float, float]:
    """A sign-in with a custom token that is signed here, and with one from the token service: medians in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Ports.shifted(free_offset()), Path(folder), project=PROJECT)
        supervisor = Supervisor()
        try:
            stack.start_emulators(supervisor)
            told = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "bench.sign_in"],
                cwd=ROOT,
                env=os.environ
                | stack.identity_environment("billing")
                | {"GOOGLE_CLOUD_PROJECT": PROJECT, "FIREBASE_AUTH_EMULATOR_HOST": stack.auth_host},
                stdout=subprocess.PIPE,
                check=True,
            )
        finally:
            supervisor.stop()
    here, brokered = json.loads(told.stdout)
    return statistics.median(here), statistics.median(brokered)
