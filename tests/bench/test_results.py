"""Results of the benchmark: they are kept as JSON, and their rounds are summed up."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.results import CPU, Measurement, Plan, ResultsError, Section, load, percentile, ratios, save
from tests.bench.runs import a_run


def of(*values: float) -> Measurement:
    return Measurement("a case", CPU, "µs", list(values))


class TestJSON:
    def test_a_run_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        """All of a run is in its JSON: machine, versions, commit, sections, rounds, and what was left out."""
        run = a_run()
        save(run, tmp_path / "new" / "run.json")
        assert load(tmp_path / "new" / "run.json") == run

    def test_a_missing_file(self, tmp_path: Path) -> None:
        """The error names the file."""
        with pytest.raises(ResultsError, match=r"Cannot read .*absent\.json: No such file"):
            load(tmp_path / "absent.json")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [("not JSON", "Invalid JSON"), ('{"date": 1}', "date"), ("[]", "the file")],
        ids=["no JSON", "a wrong type", "a list"],
    )
    def test_a_file_with_something_else(self, text: str, problem: str, tmp_path: Path) -> None:
        """The error says what is wrong, and how to get such a file."""
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ResultsError, match=rf"does not hold a run of this benchmark: .*{problem}.*make bench"):
            load(tmp_path / "run.json")

    def test_another_version(self, tmp_path: Path) -> None:
        """The JSON of another version is refused, because it may mean something else."""
        save(a_run(), tmp_path / "run.json")
        text = (tmp_path / "run.json").read_text().replace('"version": 1', '"version": 2')
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ResultsError, match="version"):
            load(tmp_path / "run.json")


class TestRounds:
    def test_a_median_and_the_quartiles_around_it(self) -> None:
        """Half of the rounds are within the spread, so one bad round does not count."""
        measurement = of(4.0, 1.0, 3.0, 2.0, 100.0)
        assert (measurement.median, measurement.spread) == (3.0, (2.0, 4.0))

    def test_a_single_round_has_no_spread(self) -> None:
        """Its spread is the value itself."""
        assert of(7.0).spread == (7.0, 7.0)

    def test_ratios_are_those_of_the_rounds(self) -> None:
        """A busy moment slows both cases of a round, so it does not change their ratio."""
        assert ratios(of(2.0, 20.0), of(1.0, 10.0)) == [2.0, 2.0]

    def test_without_the_same_number_of_rounds_medians_are_compared(self) -> None:
        """Rounds that do not belong together are not divided by each other."""
        assert ratios(of(1.0, 2.0, 3.0), of(4.0)) == [0.5]

    @pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (99.9, 100), (100, 100)])
    def test_percentiles(self, percent: float, value: float) -> None:
        """A percentile is a value that was measured (nearest rank)."""
        assert percentile(range(1, 101), percent) == value


class TestFinding:
    def test_what_was_not_measured_is_none(self) -> None:
        """A run without a section, and a section without a case, say so."""
        run = a_run()
        assert run.section("growth") is None
        assert run.find("growth", "a case", CPU) is None
        assert run.find("route", "a case", CPU) is None

    def test_sizes_are_told_apart(self) -> None:
        """The same case at another size is another measurement."""
        small, large = replace(of(1.0), at=1.0), replace(of(2.0), at=10.0)
        section = Section("growth", "Growth", 1.0, [small, large])
        assert section.find("a case", CPU, at=10.0) is large
        assert section.cases() == ["a case"]

    def test_a_plan_keeps_what_was_left_out_and_says_it(self, tmp_path: Path) -> None:
        """What is not there is left out aloud."""
        said: list[str] = []
        plan = Plan(tmp_path, 1.0, say=said.append)
        plan.leave_out("Redis: not installed")
        assert plan.left_out == ["Redis: not installed"]
        assert said == ["left out: Redis: not installed"]
