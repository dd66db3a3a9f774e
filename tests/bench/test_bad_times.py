"""Bad times: what happened in a story is told over time and altogether, and a story does what it says."""

import time
from pathlib import Path

import pytest

from bench.bad_times import GOOD, RECOVERY, SLOWEST, UNANSWERED, UNAVAILABLE, Event, play, timeline, told
from bench.load import NO_ANSWER, Exchange, Load, LoadClient, Outcome
from bench.report import write
from bench.results import TIMELINE, Machine, Measurement, Run, Section, save
from emulator.run.ports import free_port
from emulator.run.processes import Supervisor

STORY = "the sun does not shine"
OUTCOME = Outcome(
    began=1_000_000.0,
    seconds=1.0,
    exchanges=[
        Exchange(200, latency=0.01, ended=0.1),
        Exchange(503, latency=0.002, ended=0.3),
        Exchange(503, latency=0.003, ended=0.4),
        Exchange(NO_ANSWER, latency=0.2, ended=0.6),
        Exchange(201, latency=0.3, ended=0.7),
        Exchange(200, latency=0.1, ended=0.9),
    ],
)
"""A story that was mended after 0.5 s."""


def test_answers_are_counted_by_quarters_of_a_second() -> None:
    """A time line has the answers a second of each quarter of a second, also of those without any."""
    assert timeline([0.0, 0.1, 0.6], seconds=0.8) == {0.125: 8.0, 0.375: 0.0, 0.625: 4.0, 0.875: 0.0}


def test_a_story_is_told_altogether() -> None:
    """A story has the parts of its answers, its longest wait, and when it was good again."""
    found = {(each.case, each.quantity): each.values for each in told(STORY, OUTCOME, mended_at=0.5)}
    assert found[STORY, GOOD] == [50.0]
    assert found[STORY, UNAVAILABLE] == pytest.approx([100 / 3])
    assert found[STORY, UNANSWERED] == pytest.approx([100 / 6])
    assert found[STORY, SLOWEST] == [300.0]
    # The answer at 0.7 s is to a request of 0.4 s, when nothing was mended yet.
    assert found[STORY, RECOVERY] == pytest.approx([0.4])


def test_a_story_is_told_over_time() -> None:
    """A story has a time line for each kind of answer that there was."""
    lines = [each for each in told(STORY, OUTCOME, mended_at=0.5) if each.quantity == f"{TIMELINE}: {STORY}"]
    assert {each.case for each in lines} == {GOOD, UNAVAILABLE, UNANSWERED}
    assert {each.at: each.values for each in lines if each.case == UNAVAILABLE}[0.375] == [8.0]


def test_a_story_without_a_503_has_no_recovery() -> None:
    """If nothing was refused, there is nothing to recover from."""
    good = Outcome(0.0, 1.0, [Exchange(200, 0.01, 0.5)])
    assert RECOVERY not in {each.quantity for each in told(STORY, good, mended_at=0.1)}


def test_time_lines_are_drawn_and_are_in_no_table(tmp_path: Path) -> None:
    """The report has a chart of each story, and a table without the quarters of a second."""
    machine = Machine("a processor", 2, 8.0, "a system", 0.0)
    section = Section("bad_times", "Bad times", 60.0, list[Measurement](told(STORY, OUTCOME, mended_at=0.5)))
    save(Run("2026-11-26T21:00:00Z", "abc", machine, {}, [section]), tmp_path / "run.json")
    write(tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert f"![Bad times: {STORY}](bad-times-answers-over-time-the-sun-does-not-shine.svg)" in report
    assert "0.375" not in report
    assert "seconds" in (tmp_path / "bad-times-answers-over-time-the-sun-does-not-shine.svg").read_text()


@pytest.mark.process
def test_events_happen_in_their_order_while_the_load_is_sent() -> None:
    """The events of a story happen at their times, and the time of the last one is told from the start of the load."""
    happened: list[tuple[str, float]] = []

    def note(what: str) -> None:
        happened.append((what, time.time()))

    load = Load(free_port(), [b"GET / HTTP/1.1\r\n\r\n"] * 4, rate=20)
    with LoadClient() as client:
        events = [Event(0.05, lambda: note("broken")), Event(0.1, lambda: note("mended"))]
        outcome, mended_at = play(client, load, events, Supervisor())
    assert [what for what, _ in happened] == ["broken", "mended"]
    assert happened[1][1] - happened[0][1] >= 0.04
    assert outcome.statuses == {NO_ANSWER: 4}
    assert mended_at == pytest.approx(happened[1][1] - outcome.began, abs=0.05)
