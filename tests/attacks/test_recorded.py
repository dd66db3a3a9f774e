"""Every attack with a recorded call, and every call of another caller, on the running shop."""

from collections.abc import Iterator

import pytest

from emulator.attacks.attacker import CONTROLS, Attacker, AttackNotSent
from emulator.attacks.recorded import RECORDED, Prepared
from emulator.attacks.table import ATTACKS, Attack
from emulator.attacks.wire import RawRequest
from emulator.run.stack import Stack
from mstoken import Settings

CALLS = [attack for attack in ATTACKS if attack.group == "calls"]


@pytest.fixture
def attacker(target: Stack, auth_emulator: Settings) -> Iterator[Attacker]:
    """An attacker of the running shop, whose users are those of the emulators' seed."""
    with Attacker(target) as attacker:
        yield attacker


@pytest.mark.parametrize("attack", CALLS, ids=lambda attack: attack.name)
def test_a_recorded_call_is_refused(attacker: Attacker, attack: Attack) -> None:
    """The code of the refusal is that of the table, and it is known which check gave it."""
    outcome = attacker.try_one(attack)
    assert str(outcome.answer) == attack.code
    assert outcome.is_right
    assert outcome.check is not None


def test_the_calls_without_a_flaw_are_accepted(attacker: Attacker) -> None:
    """So each refusal of the table is for the flaw alone, in both modes."""
    assert [str(attacker.try_one(attack).answer) for attack in CONTROLS] == ["accepted", "accepted"]


def test_an_attack_is_not_sent_if_the_call_before_it_is_refused(attacker: Attacker) -> None:
    """A replay proves nothing if the first call was refused already."""
    nothing = RawRequest([])
    attack = Attack("x", "calls", "a replay of nothing", "token_missing", lambda _: Prepared(nothing, before=[nothing]))
    with pytest.raises(AttackNotSent, match="the call before it was answered with token_missing"):
        attacker.try_one(attack)


def test_the_whole_table_is_answered_as_it_says(attacker: Attacker) -> None:
    """Every attack is refused by a known check, and the controls at both ends are accepted. The lab shows this."""
    outcomes = list(attacker.try_all())
    assert [outcome.attack.name for outcome in outcomes if not outcome.is_right] == []
    refused = [outcome for outcome in outcomes if outcome.attack.must_be_refused]
    assert [outcome.attack.name for outcome in refused if outcome.check is None] == []
    assert [outcome.attack.group for outcome in (*outcomes[:2], *outcomes[-2:])] == ["controls"] * 4
    assert len(CALLS) == len(RECORDED)
