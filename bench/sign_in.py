"""How much time the token service adds to a sign-in, in the emulators. This is elapsed time: most of it is waiting.

`measure` starts the emulators and runs this module in a process of its own, as Billing. That process signs in in turns:
with a custom token that it signs itself, and with one from the token service. It prints the seconds as JSON.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.results import ELAPSED, Measurement
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import ROOT, Stack
from mstoken import Settings
from mstoken.caller.admin_minter import AdminMinter
from mstoken.caller.connections import Connections
from mstoken.caller.minting import BrokerMinter, Minter
from mstoken.caller.signin import SignIn
from mstoken.claims import ServiceClaims
from mstoken.settings import AUTH_EMULATOR_VARIABLE

SIGNED_HERE = "a sign-in in the emulator, custom token signed here"
BROKERED = "a sign-in in the emulator, custom token of the token service"
PROJECT = "demo-bench"
WARM_UP = 20
SIGN_INS = 200
ROUND = 25
"""So many sign-ins make a round, of which the median is kept."""


def measure(folder: Path) -> list[Measurement]:
    """Return the time of a sign-in with each kind of custom token, in milliseconds."""
    stack = Stack(Ports.shifted(free_offset()), folder, project=PROJECT)
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
    seconds: list[list[float]] = json.loads(done.stdout)
    return [
        Measurement(case, ELAPSED, "ms", rounds(times))
        for case, times in zip((SIGNED_HERE, BROKERED), seconds, strict=True)
    ]


def rounds(seconds: list[float]) -> list[float]:
    """Return the median of each round, in milliseconds."""
    return [1000 * statistics.median(seconds[first : first + ROUND]) for first in range(0, len(seconds), ROUND)]


async def sign_ins() -> tuple[list[float], list[float]]:
    """Return the times of the sign-ins, in seconds: with tokens signed here, and with those of the token service."""
    settings = Settings()
    minters: tuple[Minter, Minter] = AdminMinter(settings), BrokerMinter(settings, "billing")
    sign_in = SignIn(settings)
    took: tuple[list[float], list[float]] = [], []
    async with Connections() as connections:
        for turn in range(WARM_UP + SIGN_INS):
            for minter, times in zip(minters, took, strict=True):
                began = time.perf_counter()
                claims = ServiceClaims.fresh("billing", "product", minted_at=time.time())
                await sign_in.exchange(connections, claims.uid, await minter.mint(connections, claims))
                if turn >= WARM_UP:
                    times.append(time.perf_counter() - began)
    return took


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(sign_ins())))
