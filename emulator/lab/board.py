"""The board of attacks: the latest outcome of each row of the table, and a run through all of them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from emulator.attacks.attacker import CONTROLS, Attacker, AttackNotSent, Outcome
from emulator.attacks.checks import CHECKS, Check
from emulator.attacks.table import ATTACKS, Attack

EVERYTHING = (*CONTROLS, *ATTACKS)
"""Controls first, as in a run."""
MAX_FAILURES = 3
"""After so many attacks in a row that could not be sent, a run ends: the shop is down."""


@dataclass(frozen=True)
class Score:
    """How a run went: `refused` of `attacks` were refused as the table says, and `kept` of `controls` were accepted.

    `by_check` has the number of refusals of each check. `wrong` are the rows with another answer than the table's.
    """

    attacks: int
    refused: int
    controls: int
    kept: int
    by_check: tuple[tuple[Check, int], ...]
    wrong: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every row of the table has the right answer."""
        return self.refused == self.attacks and self.kept == self.controls


class Board:
    """Sends attacks, one at a time or all. Threads may share it. Use it in `running`."""

    def __init__(self, attacker: Attacker) -> None:
        self.attacks = {attack.id: attack for attack in EVERYTHING}
        self._attacker = attacker
        self._outcomes: dict[str, Outcome] = {}
        self._failure: str | None = None
        self._done = 0
        self._is_running = False
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Close what was opened for the attacks when the block ends."""
        with self._attacker:
            try:
                yield
            finally:
                self.stop()
                if self._thread is not None:
                    self._thread.join()

    def stop(self) -> None:
        """End a run after the attack that is being sent, and let no other begin."""
        self._is_closed = True

    @property
    def is_running(self) -> bool:
        """Whether a run through the table is going on."""
        return self._is_running

    @property
    def done(self) -> int:
        """How many requests of the current or the last run are done, and `planned` is how many there are."""
        return self._done

    planned = len(ATTACKS) + 2 * len(CONTROLS)

    @property
    def failure(self) -> str | None:
        """Why the last run ended early, or None."""
        return self._failure

    def outcome(self, attack: str) -> Outcome | None:
        """Return the latest outcome of an attack."""
        return self._outcomes.get(attack)

    def outcomes(self) -> dict[str, Outcome]:
        """Return the latest outcome of each attack that was sent, by its id."""
        return dict(self._outcomes)

    def try_one(self, attack: str) -> Outcome:
        """Send one attack. Raises AttackNotSent."""
        outcome = self._attacker.try_one(self.attacks[attack])
        self._outcomes[attack] = outcome
        return outcome

    def run_all(self) -> None:
        """Begin to send the whole table, in a thread of its own, unless a run is going on."""
        with self._lock:
            if self._is_running or self._is_closed:
                return
            self._is_running, self._done, self._failure = True, 0, None
            self._outcomes = {}
            self._thread = threading.Thread(target=self._run, name="attacks", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            failures = 0
            # The controls at the end show that the shop was up all the time.
            for attack in (*EVERYTHING, *CONTROLS):
                if self._is_closed:
                    return
                try:
                    self.try_one(attack.id)
                    failures = 0
                except AttackNotSent as error:
                    failures += 1
                    self._failure = str(error)
                    if failures == MAX_FAILURES:
                        return
                self._done += 1
        finally:
            self._is_running = False

    def score(self) -> Score:
        """Return how the rows were answered that were sent so far."""
        outcomes = self.outcomes()
        by_check = Counter(
            outcome.check for outcome in outcomes.values() if outcome.is_right and outcome.attack.must_be_refused
        )
        must_be_refused = [attack for attack in EVERYTHING if attack.must_be_refused]
        harmless = [attack for attack in EVERYTHING if not attack.must_be_refused]
        return Score(
            attacks=len(must_be_refused),
            refused=_right(must_be_refused, outcomes),
            controls=len(harmless),
            kept=_right(harmless, outcomes),
            by_check=tuple((check, by_check[check]) for check in CHECKS),
            wrong=tuple(outcome.attack.id for outcome in outcomes.values() if not outcome.is_right),
        )


def _right(attacks: list[Attack], outcomes: dict[str, Outcome]) -> int:
    return sum(attack.id in outcomes and outcomes[attack.id].is_right for attack in attacks)
