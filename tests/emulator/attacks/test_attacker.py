"""Which answers to an attack are right."""

import pytest

from emulator.attacks.attacker import Outcome
from emulator.attacks.recorded import Prepared
from emulator.attacks.table import Attack
from emulator.attacks.wire import Answer, RawRequest


@pytest.mark.parametrize(
    ("code", "answer", "is_right"),
    [
        ("token_stale", "token_stale", True),
        ("token_stale", "identity_disabled", True),
        ("token_expired", "identity_disabled", True),
        ("token_replayed", "identity_disabled", False),
        ("400 or token_malformed", "token_malformed", True),
        ("token_stale", "token_replayed", False),
    ],
)
def test_an_old_token_may_be_revoked_too(code: str, answer: str, is_right: bool) -> None:
    """After Billing was disabled and enabled. Every other answer than that of the table is wrong."""
    attack = Attack("a", "services", "an attack", code, lambda _: Prepared(RawRequest([])))
    outcome = Outcome(attack, "product", RawRequest([]), 0, Answer(401, answer), 0.01)
    assert outcome.is_right is is_right
