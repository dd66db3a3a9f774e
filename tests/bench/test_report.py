"""The report of a run, its charts, and the pages that quote it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import charts, pages, pictures, report, route
from bench.charts import figure_text
from bench.environment import RESULTS
from bench.results import CPU, Measurement, Section, save
from bench.targets import Verdict, verdicts
from tests.bench.runs import ROUTE, VERIFYING, a_run

GROWTH = Section(
    "growth",
    "Growth",
    1.0,
    [Measurement("a store", "spend", "µs", [10.0 + at], at=at) for at in (1.0, 1_000.0, 1_000_000.0)],
    ["Redis: not installed"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a report of a run and of growth."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "old.svg").write_text("from an earlier run")
    save(a_run(), folder / report.RUN_FILE)
    save(replace(a_run(), date="2026-01-02T03:04:05Z", commit="def456", sections=[GROWTH]), folder / report.GROWTH_FILE)
    report.write(folder)
    return folder


class TestReport:
    def test_where_and_when(self, folder: Path) -> None:
        """It says on which machine, from which commit and with which versions the figures are."""
        text = (folder / report.REPORT_FILE).read_text()
        for part in ("a processor, 2 cores, 8 GB, a system", "`abc123`", "2026-11-26T21:00:00Z", "uvicorn 1.0"):
            assert part in text

    def test_figures_have_their_spread(self, folder: Path) -> None:
        """A figure is the median, with the quartiles of the rounds."""
        assert "| fresh mode | 540 (537 to 543) | 1,850 |" in (folder / report.REPORT_FILE).read_text()

    def test_each_chart_is_there_and_none_is_left_over(self, folder: Path) -> None:
        """The report shows each chart of its folder but the one of the README. Charts of an earlier run are gone."""
        shown = set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (folder / report.REPORT_FILE).read_text()))
        assert shown | {"summary.svg"} == {path.name for path in folder.glob("*.svg")}

    def test_what_was_left_out(self, folder: Path) -> None:
        """It says what was not measured, and why."""
        assert "Not measured:\n\n- Nothing: there is no such thing" in (folder / report.REPORT_FILE).read_text()

    def test_growth_is_kept_with_its_date_and_commit(self, folder: Path) -> None:
        """The results of `make bench-growth` are from another day, and the report says so."""
        _, growth = (folder / report.REPORT_FILE).read_text().split("## Growth up to millions")
        assert "2026-01-02T03:04:05Z, `def456`" in growth
        assert "| a store: spend, µs | 11 | 1,010 | 1,000,000 |" in growth
        assert "![Growth: spend](large-growth-spend.svg)" in growth

    def test_the_same_run_makes_the_same_bytes(self, folder: Path, tmp_path: Path) -> None:
        """Nothing in a report depends on when it is written."""
        save(a_run(), tmp_path / report.RUN_FILE)
        report.write(tmp_path)
        for path in tmp_path.glob("*.svg"):
            assert path.read_bytes() == (folder / path.name).read_bytes()

    def test_a_folder_without_results(self, tmp_path: Path) -> None:
        """Without a run, the report is empty."""
        report.write(tmp_path)
        assert (tmp_path / report.REPORT_FILE).read_text() == "# Benchmark\n"

    def test_cases_without_a_common_quantity_are_in_different_tables(self) -> None:
        """A page load has no processor time of a bill, so it is not a row of that table."""
        bill, paint = Measurement("a bill", CPU, "µs", [1.0]), Measurement("a page", "first paint", "ms", [2.0])
        more = [Measurement("another bill", quantity, "µs", [1.0]) for quantity in ("p50", CPU)]
        assert report.together([bill, paint, *more]) == [[bill, *more], [paint]]


class TestTargetTable:
    def test_met_missed_and_not_measured(self) -> None:
        """A row says what the target is, what came out, and by how much it is missed."""
        slow = a_run(VERIFYING, {**ROUTE, route.BARE: 75.0})
        rows = report.target_lines(verdicts(slow)).splitlines()
        assert "| The route with authentication off / a bare FastAPI route | ≤ 5 | 6 | **missed by 20 %** |" in rows
        assert "| Verifying: fresh mode with SQLite / firebase-admin as it comes | ≤ 0.16 | 0.1 | met |" in rows
        assert "| A process of the shop is ready | ≤ 2 s | - | not measured |" in rows

    def test_a_miss_by_almost_nothing(self) -> None:
        """A miss is never told as 0 %."""
        target = verdicts(a_run())[0].target
        assert report.says(Verdict(target, target.bound * 1.001)) == "**missed by less than 1 %**"


class TestCharts:
    def test_they_follow_the_reader_into_the_dark(self, folder: Path) -> None:
        """A chart has a background of its own, which is light or dark as the reader has chosen."""
        text = (folder / "summary.svg").read_text()
        assert f"fill: {charts.BACKGROUND}" in text
        assert "@media (prefers-color-scheme: dark)" in text
        assert all(dark in text for dark in charts.DARK.values())

    def test_they_have_no_date(self, folder: Path) -> None:
        """A chart of the same figures is the same file, so a commit shows only what changed."""
        assert "dc:date" not in (folder / "verifying.svg").read_text()

    def test_the_parts_of_a_verification_make_the_whole(self) -> None:
        """What no part explains is shown too, so the bar is as long as the verification takes."""
        section = a_run().section("verifying")
        assert section is not None
        parts = pictures.verifying_parts(section)
        assert sum(parts["fresh mode"].values()) == pytest.approx(80.0)
        assert sum(parts["proof mode"].values()) == pytest.approx(90.0)

    def test_the_parts_of_a_request_make_the_whole(self) -> None:
        """A request is the framework, the service and authentication."""
        section = a_run().section("route")
        assert section is not None
        parts = pictures.route_parts(section)
        assert {case: sum(each.values()) for case, each in parts.items()} == pytest.approx(ROUTE)

    def test_too_many_lines_become_a_chart_for_each_database(self) -> None:
        """A chart with eight lines cannot be read."""
        series = [
            Measurement(f"request {number}, {database}", "time", "ms", [1.0], at=at)
            for number in range(4)
            for database in ("SQLite", "PostgreSQL")
            for at in (1.0, 10.0)
        ]
        found = pictures.pictures(Section("growth", "Growth", 1.0, series))
        assert [name for name, _, _ in found] == ["growth-time-sqlite", "growth-time-postgresql"]

    @pytest.mark.parametrize(
        ("number", "text"), [(0, "0"), (0.1634, "0.163"), (12.34, "12.3"), (123.4, "123"), (1_234_567, "1,230,000")]
    )
    def test_numbers_have_three_digits(self, number: float, text: str) -> None:
        """More digits would not be true."""
        assert figure_text(number) == text


class TestPages:
    def test_a_block_is_filled_and_the_rest_is_kept(self) -> None:
        """The text between the markers is replaced, and nothing else."""
        text = "Before.\n<!-- bench: ratios -->\nold\n<!-- bench: end -->\nAfter.\n"
        filled = pages.filled(text, a_run())
        assert filled.startswith("Before.\n<!-- bench: ratios -->\n\n| | ratio |")
        assert filled.endswith("|\n\n<!-- bench: end -->\nAfter.\n")
        assert "old" not in filled
        assert pages.filled(filled, a_run()) == filled

    @pytest.mark.parametrize("block", sorted(pages.BLOCKS))
    def test_each_block_has_figures(self, block: str) -> None:
        """No block of a page is empty."""
        assert re.search(r"\d", pages.BLOCKS[block](a_run()))

    def test_targets_are_a_block_too(self) -> None:
        """The table of targets is the same as in the report."""
        filled = pages.filled("<!-- bench: targets -->\n<!-- bench: end -->\n", a_run())
        assert report.target_lines(verdicts(a_run())) in filled

    def test_what_a_team_can_expect(self) -> None:
        """The cores are those that the route takes at so many calls a second."""
        rows = pages.expect_rows(a_run()).splitlines()
        assert "| cores for `GET /products`, proof mode | 0.0055 | 0.55 | 55 |" in rows
        assert "| of these for authentication, proof mode | 0.001 | 0.1 | 10 |" in rows

    def test_an_unknown_block(self) -> None:
        """A marker with a typing error is an error, so that no page keeps old figures."""
        with pytest.raises(KeyError):
            pages.filled("<!-- bench: ratio -->\n<!-- bench: end -->", a_run())

    def test_the_pages_quote_the_results_that_are_kept(self) -> None:
        """The tables of README and docs are those of bench/results: `python -m bench report` writes them again."""
        run, growth = report.runs(RESULTS)
        assert run is not None
        for page in pages.PAGES:
            assert pages.filled(page.read_text(), run, growth) == page.read_text()


def test_a_case_of_another_section_is_not_drawn() -> None:
    """The chart of the README needs both sections: without one, there is no chart."""
    only = replace(a_run(), sections=[a_run().sections[0]])
    assert pictures.summary(only) is None
    assert pictures.summary(a_run()) is not None
    assert Measurement("a case", CPU, "µs", [1.0]).median == 1.0
