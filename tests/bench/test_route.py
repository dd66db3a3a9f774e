"""The protected route: every case is measured with real servers, and each of its requests is answered."""

from pathlib import Path

import pytest

from bench import route
from bench.results import CPU, THROUGHPUT, Plan

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_the_quick_comparison_has_all_its_cases(tmp_path: Path) -> None:
    """The quick comparison measures five cases, three rounds each at least, and the cheapest costs least."""
    found = {(each.case, each.quantity): each for each in route.measure(Plan(tmp_path, seconds=1, is_quick=True))}
    cases = (route.BARE, route.OFF, route.FRESH, route.PROOF, route.ADMIN)
    assert set(found) == {(case, quantity) for case in cases for quantity in (THROUGHPUT, CPU)}
    assert all(len(each.values) >= route.MIN_ROUNDS and min(each.values) > 0 for each in found.values())
    least = {case: min(found[case, CPU].values) for case in cases}
    assert least[route.BARE] < least[route.OFF] < least[route.ADMIN]
