"""The board of attacks: it keeps outcomes, and counts them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from emulator.attacks.attacker import CONTROLS, AttackNotSent, Outcome
from emulator.attacks.table import ATTACKS, Attack
from emulator.attacks.wire import Answer, RawRequest
from emulator.lab.board import EVERYTHING, MAX_FAILURES, Board
from tests.waiting import WAIT_SECONDS


class FakeAttacker:
    """Answers each attack as the table says, but for some: by id, an answer or an error."""

    def __init__(self) -> None:
        self.others: dict[str, Answer | AttackNotSent] = {}
        self.sent: list[str] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_closed = False
        self.on_send: Callable[[], None] = lambda: None

    def __enter__(self) -> "FakeAttacker":
        return self

    def __exit__(self, *_error: object) -> None:
        self.is_closed = True

    def try_one(self, attack: Attack) -> Outcome:
        self.may_go_on.wait(WAIT_SECONDS)
        self.sent.append(attack.id)
        self.on_send()
        answer = self.others.get(attack.id) or self._right(attack)
        if isinstance(answer, AttackNotSent):
            raise answer
        return Outcome(attack, "product", RawRequest([]), 0, answer, 0.01)

    def _right(self, attack: Attack) -> Answer:
        code = attack.codes[0]
        return Answer(200, "") if code == "accepted" else Answer(400, "") if code == "400" else Answer(401, code)


@contextmanager
def running(attacker: Any) -> Iterator[Board]:
    """A board with this attacker."""
    board = Board(attacker)
    with board.running():
        yield board


@pytest.fixture
def attacker() -> FakeAttacker:
    return FakeAttacker()


def finish(board: Board) -> None:
    """Wait for the end of a run."""
    assert board._thread is not None
    board._thread.join(WAIT_SECONDS)
    assert not board.is_running


def test_a_run_sends_everything_between_controls(attacker: FakeAttacker) -> None:
    """N of N are refused, each by a check, and the controls are accepted at both ends."""
    with running(attacker) as board:
        board.run_all()
        finish(board)
        score = board.score()
    controls = [control.id for control in CONTROLS]
    assert attacker.sent == [*controls, *(attack.id for attack in ATTACKS), *controls]
    assert (score.refused, score.kept, score.is_complete) == (score.attacks, score.controls, True)
    assert score.attacks + score.controls == len(EVERYTHING)
    assert sum(number for _, number in score.by_check) == score.attacks
    assert (board.done, board.failure, score.wrong) == (board.planned, None, ())
    assert attacker.is_closed


@pytest.mark.parametrize(
    ("attack", "answer"),
    [("calls-1", Answer(200, "")), ("control-fresh", Answer(401, "token_stale")), ("tokens-1", Answer(401, "x"))],
    ids=["accepted", "refused", "another code"],
)
def test_a_wrong_answer_is_counted(attacker: FakeAttacker, attack: str, answer: Answer) -> None:
    """An attack that is accepted, a call without a flaw that is refused, and another code than the table's."""
    attacker.others[attack] = answer
    with running(attacker) as board:
        board.run_all()
        finish(board)
        assert (board.score().wrong, board.score().is_complete) == ((attack,), False)


def test_one_attack_can_be_sent_again(attacker: FakeAttacker) -> None:
    """The latest outcome counts."""
    with running(attacker) as board:
        assert board.outcome("calls-1") is None
        first, second = board.try_one("calls-1"), board.try_one("calls-1")
        assert board.outcome("calls-1") is second is not first


def test_a_run_ends_if_the_shop_is_down(attacker: FakeAttacker) -> None:
    """It does not wait for hundreds of time-outs. The page says what failed."""
    for attack in ATTACKS:
        attacker.others[attack.id] = AttackNotSent(f"{attack.name}: ConnectionRefusedError")
    with running(attacker) as board:
        board.run_all()
        finish(board)
        assert len(attacker.sent) == len(CONTROLS) + MAX_FAILURES
        assert board.failure == f"{ATTACKS[MAX_FAILURES - 1].name}: ConnectionRefusedError"
        assert not board.score().is_complete


def test_only_one_run_at_a_time(attacker: FakeAttacker) -> None:
    """A second push of the button, or another page, changes nothing."""
    attacker.may_go_on.clear()
    with running(attacker) as board:
        board.run_all()
        board.run_all()
        assert board.is_running
        attacker.may_go_on.set()
        finish(board)
    assert len(attacker.sent) == board.planned


def test_a_run_ends_with_the_lab(attacker: FakeAttacker) -> None:
    """The runner does not wait for it."""
    with running(attacker) as board:
        sent = threading.Event()

        def stop() -> None:
            board.stop()
            sent.set()

        attacker.on_send = stop
        board.run_all()
        assert sent.wait(WAIT_SECONDS)
    assert len(attacker.sent) == 1
    board.run_all()
    assert not board.is_running
