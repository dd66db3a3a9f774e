"""Growth: a part that fails takes nothing from the others, and the targets see what grows."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import growth
from bench.growth import audiences, names, processes, shop, spent_ids
from bench.results import START, Machine, Measurement, Plan, Run, Section


def run_of(*measurements: Measurement) -> Run:
    section = Section("growth", growth.TITLE, 1.0, list(measurements))
    return Run("2026-11-26T00:00:00Z", "0", Machine("", 2, 24, "", 0), {}, [section])


def spends(*points: tuple[int, float]) -> list[Measurement]:
    return [Measurement("SQLite", names.SPEND, "µs", [microseconds] * 3, size) for size, microseconds in points]


def test_nothing_is_said_of_what_was_not_measured() -> None:
    """Without pages and purchases in a run, or with an empty shop only, there is no result."""
    case = names.in_shop(names.FIRST_PAGE, "SQLite")
    assert growth.over_empty(run_of()) is None
    assert growth.over_empty(run_of(Measurement(case, names.PAGE, "ms", [1.0], names.EMPTY))) is None


def test_a_large_shop_is_compared_with_an_empty_one() -> None:
    """The ratio is that of the rounds, at 100,000 bills: larger shops do not count for it."""
    case = names.in_shop(names.FIRST_PAGE, "PostgreSQL")
    sizes = ((names.EMPTY, [2.0, 4.0]), (1_000, [9.0, 9.0]), (100_000, [3.0, 6.0]), (1_000_000, [9.0, 9.0]))
    run = run_of(*(Measurement(case, names.PAGE, "ms", values, size) for size, values in sizes))
    assert growth.over_empty(run) == pytest.approx(1.5)


def test_a_part_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before and after is kept, and the report says what is missing."""

    def works(_plan: Plan) -> Sequence[Measurement]:
        return spends((1, 1.0))

    def fails(_plan: Plan) -> Sequence[Measurement]:
        raise OSError("no room")

    monkeypatch.setattr(growth, "PARTS", (("one", works), ("two", fails), ("three", works)))
    plan = Plan(tmp_path, seconds=1)
    assert len(growth.measure(plan)) == 2
    assert plan.left_out == ["two: it failed"]


def test_spends_are_measured_in_stores_of_all_sizes(tmp_path: Path) -> None:
    """In memory and in SQLite, each size has its rounds, and more ids need more room."""
    plan, sizes = Plan(tmp_path, seconds=1), (1, 1_000)
    for case, measured, room in (
        ("memory", spent_ids.in_memory, names.SPENT_MEMORY),
        ("SQLite", spent_ids.in_sqlite, names.SPENT_DISK),
    ):
        found = {(one.case, one.quantity, one.at): one for one in measured(plan, sizes)}
        assert set(found) == {(case, quantity, size) for quantity in (names.SPEND, room) for size in sizes}
        assert all(len(found[case, names.SPEND, size].values) == spent_ids.ROUNDS for size in sizes)
        assert found[case, room, 1_000].median > found[case, room, 1].median


def test_audiences_are_measured(tmp_path: Path) -> None:
    """A caller, a policy and a route with several audiences are measured with all of their sizes."""
    found = audiences.measured(Plan(tmp_path, seconds=1), (1, 20))
    cases = {(one.case, one.at) for one in found if one.quantity == names.AUDIENCE}
    expected = (audiences.CALLER, audiences.POLICY, audiences.ADMISSION)
    assert cases == {(case, size) for case in expected for size in (1, 20)}


@pytest.mark.slow
def test_a_shop_is_measured_with_each_number_of_bills(tmp_path: Path) -> None:
    """An empty shop and one with bills take turns. Page 1,000 is measured only if there are so many bills."""
    found = shop.on_sqlite(Plan(tmp_path, seconds=1), tmp_path, (0, 50), rounds=2)
    sizes: dict[str, set[float | None]] = {}
    for one in found:
        assert len(one.values) == 2
        sizes.setdefault(one.case, set()).add(one.at)
    assert sizes == {
        **{
            names.in_shop(request, "SQLite"): {names.EMPTY, 50}
            for request in (names.POST_BILLS, names.FIRST_PAGE, names.FIRST_PAGE_OF_ALL)
        },
        names.in_shop(names.SEARCH, "SQLite"): {1, 5},
        names.in_shop(names.SEARCH_COMMON, "SQLite"): {5},
    }


@pytest.mark.process
@pytest.mark.slow
def test_each_process_is_started_and_loaded(tmp_path: Path) -> None:
    """The three services and the token function start, and answer a thousand requests as expected."""
    plan = Plan(tmp_path, seconds=1)
    found = {(one.case, one.quantity): one.median for one in processes.measured(plan, rounds=1)}
    quantities = (START, names.READY_MEMORY, names.USED_MEMORY)
    assert set(found) == {(case, quantity) for case in processes.LOADS for quantity in quantities}
    assert min(found.values()) > 0
    assert plan.left_out == []
