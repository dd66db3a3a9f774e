"""An attacker who tries the table of attacks on a running shop."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import httpx

from emulator.attacks.checks import Check, check_of
from emulator.attacks.emulator_forge import EmulatorForge
from emulator.attacks.recorded import Prepared
from emulator.attacks.table import ATTACKS, Attack, Tools, control, proof_control
from emulator.attacks.victims import SignedInVictims
from emulator.attacks.wire import Answer, RawRequest
from emulator.run.errors import RunnerError
from emulator.run.shop_client import TIMEOUT_SECONDS
from emulator.run.stack import Stack
from mstoken.emulator.keys import Key
from mstoken.errors import MsTokenError
from mstoken.testing.proof_flaws import Holder

CONTROLS = (
    Attack("control-fresh", "controls", "a call of Billing, in fresh mode", "accepted", control),
    Attack("control-proof", "controls", "a call of Billing, in proof mode", "accepted", proof_control),
)
"""Calls without a flaw. They must be accepted, or the refusals prove nothing."""

REVOKED = "identity_disabled"
OLD = frozenset({"token_stale", "token_expired"})
"""The codes of attacks with old tokens."""


class AttackNotSent(Exception):
    """An attack could not be sent, because its tokens could not be made or the service did not answer."""


@dataclass(frozen=True)
class Outcome:
    """What an attack sent, how it was answered, by which check, and how long the answer took."""

    attack: Attack
    target: str
    request: RawRequest
    before: int
    answer: Answer
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether the answer is the one of the table.

        After Billing was disabled and enabled, its old tokens are revoked. The identity is checked before the age.
        """
        answer, codes = str(self.answer), self.attack.codes
        return answer in codes or (answer == REVOKED and not OLD.isdisjoint(codes))

    @property
    def check(self) -> Check | None:
        """The check that refused the call."""
        return check_of(self.answer)


class Attacker:
    """Has all tools of the table, for one stack. They are made at the first attack. Use it with `with`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._open = ExitStack()
        self._tools: Tools | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def try_one(self, attack: Attack) -> Outcome:
        """Send one attack, after what must come before it. Raises `AttackNotSent`."""
        try:
            prepared = attack.prepare(self._made_tools())
            return self._send(attack, prepared)
        except (OSError, httpx.HTTPError, MsTokenError, RunnerError) as error:
            raise AttackNotSent(f"{attack.name}: {type(error).__name__}") from error

    def try_all(self) -> Iterator[Outcome]:
        """Send the whole table, between calls that must be accepted. Raises `AttackNotSent`."""
        for attack in (*CONTROLS, *ATTACKS, *CONTROLS):
            yield self.try_one(attack)

    def _send(self, attack: Attack, prepared: Prepared) -> Outcome:
        port = getattr(self._stack.ports, prepared.target)
        for request in prepared.before:
            answer = request.send(port)
            if not 200 <= answer.status < 300:
                raise AttackNotSent(f"{attack.name}: the call before it was answered with {answer}")
        start = time.perf_counter()
        answer = prepared.request.send(port)
        seconds = time.perf_counter() - start
        return Outcome(attack, prepared.target, prepared.request, len(prepared.before), answer, seconds)

    def _made_tools(self) -> Tools:
        with self._lock:
            if self._tools is None:
                stack = self._stack
                http = self._open.enter_context(httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False))
                forge = EmulatorForge(f"http://{stack.auth_host}", stack.project, Key(), http)
                victims = SignedInVictims(stack)
                # Tokens of an identity that never signed in are refused, and the forge makes tokens of Billing.
                victims.billing_call("fresh")
                self._tools = Tools(forge, lambda: Holder(forge, stack.base_url("product")), victims)
            return self._tools
