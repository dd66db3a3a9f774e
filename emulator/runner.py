"""The runner behind `make run` and `make demo`: it starts the shop, buys something, and shows what happened."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from rich.console import Console
from rich.markup import escape

from emulator.demo import report
from emulator.demo.calls import first_accepted_call, service_calls
from emulator.demo.purchase import CUSTOMER, buy
from emulator.demo.refusals import try_calls
from emulator.demo.trace import trace_first_call
from emulator.lab import server as lab_server
from emulator.lab.pages import Lab
from emulator.lab.wiretap import Wiretap
from emulator.run.catalogue import add_catalogue
from emulator.run.errors import Interrupted, ProcessDied, RunnerError, Unexpected
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack, use_no_proxy
from mstoken.settings import AUTH_EMULATOR_VARIABLE

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OK, FAILED, INTERRUPTED = 0, 1, 130
"""Exit statuses."""
CALLS = (("svc:billing", "product"), ("svc:billing", "user"), ("svc:delivery", "billing"))
"""The calls that a purchase makes: caller, callee."""


class Runner:
    """One run of a stack. It prints to a console."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._supervisor = Supervisor()
        self._lab = ExitStack()
        """Ends the lab when it is closed."""
        self._wire = ExitStack()
        """Ends the wiretap when it is closed."""
        self._wiretap: Wiretap | None = None

    def run(self, *, stay: bool) -> int:
        """Run the demo. With `stay`, keep everything up after that, until interrupted. Return the exit status.

        0: the demo is done or, with `stay`, the user interrupted. 1: something failed. 130: the user interrupted the
        demo.
        """
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            self._stack.ports.check()
            self._start_and_show()
            if stay:
                self._lab.enter_context(lab_server.running(Lab(self._stack, self._supervisor, self._wiretap)))
                report.show_addresses(self._console, self._stack)
                self._console.print("\nEverything is up. Press Ctrl-C to stop.")
                self._supervisor.check(None)
            return OK
        except Interrupted:
            return OK if stay else INTERRUPTED
        except RunnerError as error:
            self._console.print(f"[red]Failed:[/red] {escape(str(error))}", soft_wrap=True)
            if isinstance(error, ProcessDied):
                self._console.print(f"The end of its log:\n{error.last_lines}", markup=False, soft_wrap=True)
            elif self._supervisor.processes:
                self._console.print(f"The logs are in {self._stack.data / 'logs'}", markup=False, soft_wrap=True)
            return FAILED
        finally:
            self._stop()

    def _start_and_show(self) -> None:
        self._stack.delete_old_data()
        with self._step("Starting the Firebase emulators"):
            self._stack.start_emulators(self._supervisor)
        if self._stack.redis:
            with self._step("Starting Redis"):
                self._stack.start_redis(self._supervisor)
        with self._step("Starting user, product and billing"):
            self._start_wiretap()
            self._stack.start_services(self._supervisor)
        with self._step("Adding products to the catalogue"):
            add_catalogue(self._stack)
            self._supervisor.check()
        with self._step(f"Buying as {CUSTOMER.name}, and waiting for the delivery"):
            purchase = buy(self._stack)
            for caller, callee in CALLS:
                first_accepted_call(self._stack, caller, callee)
        calls = service_calls(self._stack)
        hops = trace_first_call(self._stack, "billing", "product")
        with self._step("Sending a call twice, and forged calls"):
            results = try_calls(self._stack)
        report.show_purchase(self._console, purchase)
        report.show_calls(self._console, calls)
        report.show_trace(self._console, "The first call from billing to product, step by step", hops)
        report.show_refusals(self._console, results)

    def _start_wiretap(self) -> None:
        """Start the wiretap, if the stack has one. The services need it for as long as they run."""
        if self._stack.wiretap:
            self._wiretap = Wiretap(self._stack.ports.wiretap, self._stack.ports.product)
            self._wire.enter_context(self._wiretap.running())

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """Show what is going on and, once it is done, how long it took."""
        started = time.monotonic()
        with self._console.status(f"{what} …"):
            try:
                yield
            except Unexpected:
                self._supervisor.check()  # If a process ended, that explains more than a missing answer.
                raise
        self._console.print(f"{what}: done in {time.monotonic() - started:.1f} s")

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._supervisor.interrupt()

    def _stop(self) -> None:
        """Stop everything that runs. Signals that arrive in the meantime change nothing."""
        if not self._supervisor.processes:
            self._lab.close()
            self._wire.close()
            return
        try:
            self._console.print("Stopping …")
        finally:  # Printing fails if the terminal is gone.
            self._lab.close()
            self._supervisor.stop()
            self._wire.close()
        self._console.print("Everything is stopped.")


def use_emulator(stack: Stack) -> None:
    """Make this process use the stack's Auth emulator, and no proxy. firebase-admin reads only the environment."""
    os.environ[AUTH_EMULATOR_VARIABLE] = stack.auth_host
    use_no_proxy(os.environ)
