"""Runs a command that does not outlive its parent: `python -I -S die_with_parent.py PARENT_PID COMMAND ARGUMENT...`

On Linux the kernel sends the command SIGTERM when the parent ends in whatever way, SIGKILL included (prctl(2),
PR_SET_PDEATHSIG). When the command has ended, what is left of its process group is killed: firebase-tools leaves
its Python functions behind. Elsewhere the command just runs. It replaces this process: pid and status are its own.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Becomes the command; does not return. Exits with one line and status 1 when the command cannot be run."""
    if sys.platform == "linux":
        tell_when_parent_ends(signal.SIGTERM)
        if os.getppid() != parent:  # It ended before the line above: no signal will come.
            sys.exit(1)
        leads_its_group = os.getpgrp() == os.getpid()
        if leads_its_group and os.fork() == 0:
            clear_up_after(os.getpgrp())
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


def tell_when_parent_ends(number: signal.Signals) -> None:
    """Has the kernel send this process a signal when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def clear_up_after(leader: int) -> None:
    """Waits for the end of the group's leader, our parent, and kills the group, this process included."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    tell_when_parent_ends(signal.SIGUSR1)
    if os.getppid() == leader:
        signal.sigwait([signal.SIGUSR1])
    os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
