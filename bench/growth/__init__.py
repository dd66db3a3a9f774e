"""What grows when the shop grows: spent ids, audiences, products and bills; and what each process needs at its start.

`make bench` measures up to 100,000 of each, and `make bench-growth` up to ten million. A part whose server is missing,
or that fails, is left out of the report, and the others are kept.
"""

import statistics
import traceback
from collections.abc import Callable, Iterable

from bench.growth import audiences, processes, shop, spent_ids
from bench.growth.names import (
    BILLS_TARGET,
    DATABASES,
    DEEP_PAGE_OF_ALL,
    EMPTY,
    FIRST_PAGE,
    FIRST_PAGE_OF_ALL,
    PAGE,
    POST_BILLS,
    in_shop,
)
from bench.results import Measurement, Plan, Run, ratios

TITLE = "Growth"

Part = Callable[[Plan], Iterable[Measurement]]
PARTS: tuple[tuple[str, Part], ...] = (
    ("spent ids in memory and in SQLite", spent_ids.measure_files),
    ("spent ids in Redis", spent_ids.measure_redis),
    ("spent ids in PostgreSQL", spent_ids.measure_postgresql),
    ("audiences", audiences.measure),
    ("products and bills on SQLite", shop.measure_sqlite),
    ("products and bills on PostgreSQL", shop.measure_postgresql),
    ("processes", processes.measure),
)


def measure(plan: Plan) -> list[Measurement]:
    """Measure all parts, one after the other."""
    found: list[Measurement] = []
    for name, part in PARTS:
        plan.say(name)
        try:
            for one in part(plan):
                found.append(one)  # noqa: PERF402 - what was found before an error is kept
        except Exception:  # what was measured before, perhaps for twenty minutes, is worth more than a clean end
            traceback.print_exc()
            plan.leave_out(f"{name}: it failed")
    return found


def over_empty(run: Run) -> float | None:
    """Return by what factor bills take longer in a large shop than in an empty one: the worst of purchases and pages.

    A large shop has `BILLS_TARGET` bills, or as many as were measured. None if the run has not measured growth.
    """
    section = run.section("growth")
    if section is None:
        return None
    found = []
    for request in (POST_BILLS, FIRST_PAGE, FIRST_PAGE_OF_ALL, DEEP_PAGE_OF_ALL):
        for database in DATABASES:
            case = in_shop(request, database)
            sizes = [one.at or 0.0 for one in section.measurements if one.case == case]
            sizes = [size for size in sizes if EMPTY < size <= BILLS_TARGET]
            large = section.find(case, PAGE, max(sizes)) if sizes else None
            empty = section.find(case, PAGE, EMPTY)
            if large and empty:
                found.append(statistics.median(ratios(large, empty)))
    return max(found, default=None)
