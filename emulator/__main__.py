"""The command line of the runner: `python -m emulator run | demo`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from emulator.run.ports import Ports
from emulator.run.stack import ROOT, Stack
from emulator.runner import Runner, use_emulator
from mstoken.wire import MODES

HIGHEST_OFFSET = 56_000
"""With it, the highest port is still below 65,536."""
MOST_WORKERS = 64


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    """Return what reads a whole number from `lowest` to `highest` from an argument."""

    def read(text: str) -> int:
        if not (text.isdecimal() and lowest <= int(text) <= highest):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return read


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name. Return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m emulator", description="Run the whole shop on this machine: emulators and services."
    )
    parser.add_argument(
        "command", choices=("run", "demo"), help="demo buys something, shows what happened, and ends; run stays up"
    )
    parser.add_argument(
        "--port-offset", type=_number(0, HIGHEST_OFFSET), default=0, metavar="N", help="add N to every port"
    )
    parser.add_argument(
        "--workers",
        type=_number(1, MOST_WORKERS),
        default=1,
        metavar="N",
        help="processes for each service (default: 1)",
    )
    parser.add_argument("--mode", choices=MODES, default="fresh", help="how services call each other (default: fresh)")
    parser.add_argument(
        "--redis", action="store_true", help="keep spent ids in a Redis that is started too (needs redis-server)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="where databases and logs go; those of an earlier run are deleted"
    )
    options = parser.parse_args(arguments)
    # Each offset has a folder of its own, so that two runners at the same time do not share one.
    data = options.data or ROOT / ".data" / (f"run+{options.port_offset}" if options.port_offset else "run")
    stack = Stack(
        Ports.shifted(options.port_offset),
        data.resolve(),
        workers=options.workers,
        mode=options.mode,
        wiretap=True,
        redis=options.redis,
    )
    use_emulator(stack)
    return Runner(stack, Console(highlight=False)).run(stay=options.command == "run")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
