"""Behind `make run` and `make demo`: starts everything, buys something, shows what happened, and stops everything."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.markup import escape

from emulator.demo import report
from emulator.demo.calls import first_accepted_call, service_calls
from emulator.demo.purchase import CUSTOMER, buy
from emulator.demo.refusals import try_calls
from emulator.demo.trace import trace_first_call
from emulator.run.catalogue import add_catalogue
from emulator.run.errors import Interrupted, ProcessDied, RunnerError, Unexpected
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OK, FAILED, CUT_SHORT = 0, 1, 130
CALLS = (("svc:billing", "product"), ("svc:billing", "user"), ("svc:delivery", "billing"))
"""Which service must have called which by the time that the purchase has arrived."""


class Runner:
    """One run of a stack, told on a console."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._supervisor = Supervisor()

    def run(self, *, stay: bool) -> int:
        """Runs the demo and, if it is to stay, keeps everything up until interrupted. Returns the exit status.

        0: the demo was done, or it was to stay and was interrupted. 1: something was not as promised.
        130: interrupted before the demo was done.
        """
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            self._stack.ports.check()
            self._start_and_show()
            if stay:
                report.show_addresses(self._console, self._stack)
                self._console.print("\nEverything is up. Ctrl-C stops it.")
                self._supervisor.check(None)
            return OK
        except Interrupted:
            return OK if stay else CUT_SHORT
        except RunnerError as error:
            self._console.print(f"[red]Failed:[/red] {escape(str(error))}", soft_wrap=True)
            if isinstance(error, ProcessDied):
                self._console.print(error.last_lines, markup=False, soft_wrap=True)
            return FAILED
        finally:
            self._stop()

    def _start_and_show(self) -> None:
        self._stack.forget()
        with self._step("Starting the Firebase emulators"):
            self._stack.start_emulators(self._supervisor)
        with self._step("Starting user, product and billing"):
            self._stack.start_services(self._supervisor)
        with self._step("Filling the catalogue"):
            add_catalogue(self._stack)
            self._supervisor.check()
        with self._step(f"Buying as {CUSTOMER.name}, and waiting for the delivery"):
            purchase = buy(self._stack)
            for caller, callee in CALLS:
                first_accepted_call(self._stack, caller, callee)
        calls = service_calls(self._stack)
        hops = trace_first_call(self._stack, "billing", "product")
        with self._step("Sending a call twice, and a forged one"):
            attempts = try_calls(self._stack)
        report.show_purchase(self._console, purchase)
        report.show_calls(self._console, calls)
        report.show_trace(self._console, "The whole way of the first call, from billing to product", hops)
        report.show_refusals(self._console, attempts)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """Shows that something goes on and, once it is done, how long it took."""
        started = time.monotonic()
        with self._console.status(f"{what} …"):
            try:
                yield
            except Unexpected:
                self._supervisor.check()  # That a process died tells more than that it did not answer.
                raise
        self._console.print(f"{what}: done in {time.monotonic() - started:.1f} s")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._supervisor.interrupt()

    def _stop(self) -> None:
        """Stops what runs; signals that come meanwhile change nothing, since it ends soon in any case."""
        if not self._supervisor.processes:
            return
        try:
            self._console.print("Stopping …")
        finally:  # The terminal may be gone.
            self._supervisor.stop()
        self._console.print("Everything is stopped.")


def use_emulator(stack: Stack) -> None:
    """Points this process at the stack's Auth emulator: firebase-admin knows no other way than the environment."""
    os.environ[AUTH_EMULATOR_VARIABLE] = stack.auth_host
