"""Runs a command that does not outlive its parent: `python -I -S die_with_parent.py PARENT_PID COMMAND ARGUMENT...`

The command replaces this process, so it has the same process id, and its exit status is passed on.

On Linux the kernel sends the command SIGTERM when the parent ends, even if SIGKILL ended the parent (prctl(2),
PR_SET_PDEATHSIG). When the command has ended, the rest of its process group is killed: firebase-tools leaves its
Python functions behind. On other systems the command runs without this protection.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become the command. Does not return. If the command cannot be run, exit with one line and status 1."""
    if sys.platform == "linux":
        ask_for_signal_at_parent_end(signal.SIGTERM)
        if os.getppid() != parent:  # The parent ended before the line above, so no signal will come.
            sys.exit(1)
        leads_its_group = os.getpgrp() == os.getpid()
        if leads_its_group and os.fork() == 0:
            kill_group_after(os.getpgrp())
    # Processes are stopped with SIGINT. The background jobs of a shell ignore it, and so would what they start.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - to become the command is the purpose
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error.strerror}")


def ask_for_signal_at_parent_end(number: signal.Signals) -> None:
    """Ask the kernel to send this process a signal when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def kill_group_after(leader: int) -> None:
    """Wait until our parent, the group's leader, ends. Then kill the group, including this process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    ask_for_signal_at_parent_end(signal.SIGUSR1)
    if os.getppid() == leader:
        signal.sigwait([signal.SIGUSR1])
    os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
