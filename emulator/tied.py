"""Runs a command that does not outlive its parent: `python -I -S tied.py PARENT_PID COMMAND ARGUMENT...`

On Linux the kernel sends the command SIGTERM when the parent ends in whatever way, SIGKILL included (prctl(2),
PR_SET_PDEATHSIG). Elsewhere the command just runs. It replaces this process, so pid and status are its own.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Becomes the command; does not return. Exits with one line and status 1 when the command cannot be run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # It ended before the line above: no signal will come.
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
