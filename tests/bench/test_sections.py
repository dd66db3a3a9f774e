"""The sections are run one after the other, and the command tells what it does."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import __main__ as command
from bench.environment import new_run
from bench.results import CPU, Measurement, Plan, save
from bench.sections import ENTRIES, Entry, chosen, run_sections
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.bench.runs import a_run

NEW = replace(a_run(), sections=[])


class Measured:
    """A section that measures one figure at once."""

    TITLE = "Quick work"

    def measure(self, plan: Plan) -> list[Measurement]:
        (plan.folder / "a file").write_text("of its own")
        plan.say("the only case")
        plan.leave_out("PostgreSQL: not installed")
        return [Measurement("a case", CPU, "µs", [plan.seconds])]


class Broken:
    """A section that fails."""

    TITLE = "No work"

    def measure(self, plan: Plan) -> list[Measurement]:
        raise RuntimeError("there is a mistake")


class TestRunning:
    def test_progress_is_told(self) -> None:
        """Each section says what it measures and how long that will take."""
        said: list[str] = []
        run, all_measured = run_sections(NEW, [Entry("quick", Measured(), 5)], say=said.append)
        assert said == [
            "[1/1] Quick work: about 5 s",
            "    the only case",
            "    left out: PostgreSQL: not installed",
            "    took 0 s",
        ]
        assert all_measured
        assert run.sections[0].left_out == ["PostgreSQL: not installed"]

    def test_a_section_that_fails_loses_no_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The fault is shown, the report says that the section failed, and the others are measured."""
        entries = [Entry("broken", Broken(), 1), Entry("quick", Measured(), 5)]
        run, all_measured = run_sections(NEW, entries, say=lambda line: None)
        assert not all_measured
        assert "RuntimeError: there is a mistake" in capsys.readouterr().err
        assert run.sections[0].left_out == ["No work: it failed"]
        assert run.find("quick", "a case", CPU) is not None

    def test_a_quick_run_takes_its_own_time(self) -> None:
        """In `make bench-quick` a section gets the seconds for that."""
        run, _ = run_sections(replace(NEW, is_quick=True), [Entry("quick", Measured(), 5, quick_seconds=2)], say=print)
        assert run.is_quick
        assert run.sections[0].measurements[0].values == [2]

    @pytest.mark.process
    def test_a_run_says_where_it_was_made(self) -> None:
        """It has the machine, the commit and the versions of what it measures."""
        run = new_run()
        assert run.machine.cores >= 1
        assert {"Python", "firebase-admin", "SQLite"} <= run.versions.keys()
        assert run.commit
        assert run.date.endswith("Z")


class TestBudget:
    def test_all_sections_take_less_than_ten_minutes(self) -> None:
        """`make bench` promises that."""
        assert sum(entry.seconds for entry in ENTRIES) < 600

    def test_the_quick_ones_take_less_than_a_minute(self) -> None:
        """`make bench-quick` promises that."""
        assert sum(entry.quick_seconds or 0 for entry in ENTRIES) < 60

    def test_sections_are_chosen_by_name(self) -> None:
        """Without names, all are chosen; in a quick run, those that it has."""
        assert chosen([]) == list(ENTRIES)
        assert [entry.name for entry in chosen(["route"])] == ["route"]
        assert [entry.name for entry in chosen([], is_quick=True)] == ["verifying", "route"]


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["--only", "rout"], "There is no section rout."),
            (["--growth", "--quick"], "--growth measures one section by itself"),
            (["compare"], "make bench-compare A=before.json B=after.json"),
            (["--out", "/dev/null/results"], "Cannot write to"),
        ],
        ids=["an unknown section", "growth and quick", "compare without runs", "a folder that cannot be made"],
    )
    def test_a_mistake_of_the_user(self, arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The answer says what was expected, and nothing is measured."""
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9")
        result = CliRunner().invoke(command.app, arguments)
        assert result.exit_code == 2
        assert text in result.output

    def test_a_run_that_cannot_be_read(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """There is no stack trace."""
        monkeypatch.setattr("sys.argv", ["bench", "compare", "absent.json", "absent.json"])
        with pytest.raises(SystemExit, match="2"):
            command.main()
        assert capsys.readouterr().err.startswith("Cannot read absent.json")

    def test_two_runs_are_compared(self, tmp_path: Path) -> None:
        """`make bench-compare` prints a table, and its status is 0 whatever changed."""
        run, _ = run_sections(NEW, [Entry("quick", Measured(), 5)], say=lambda line: None)
        save(run, tmp_path / "a.json")
        result = CliRunner().invoke(command.app, ["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")])
        assert result.exit_code == 0
        assert "0 of 1 figures changed." in result.output
