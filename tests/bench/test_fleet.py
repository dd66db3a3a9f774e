"""The model of a fleet: it agrees with the real code, and knows the limits."""

import asyncio
import heapq
import selectors
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from bench import fleet_report
from bench.calling import MINUTE_SECONDS, OPERATIONS_A_DAY, SIGN_INS_A_MINUTE
from bench.fleet import DAY_SECONDS, START_SECONDS, Fleet, Story, main, simulate, stock_for
from mstoken.callee.status import OUTAGE_SECONDS, StatusCache
from mstoken.caller.bound import BoundToken
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock
from tests.mstoken.callee.status_stores import MemoryStatusStore

BILLING = "svc:billing"
TEN_MINUTES = 10 * MINUTE_SECONDS
SMALL = Fleet(10, callers=4, services=2, callees=2, identities=1)


class VirtualSelector(selectors.SelectSelector):
    """Waits for nothing. The time that it was to wait has passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


def in_virtual_time(work: Any) -> Any:
    """Run a coroutine in an event loop whose time passes at once."""
    selector = VirtualSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign] # asyncio has no other way
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _fraction(number: int) -> float:
    """Return a number from 0 to 1 for each process, far from those of the processes before it."""
    return (number * 0.618) % 1


async def real_look_ups(processes: int, *, shared: bool, seconds: float = TEN_MINUTES) -> int:
    """Return how often real caches of so many processes ask Firebase, while one identity calls all of them."""
    time, firebase = FakeClock(), FakeFirebase()
    firebase.issue(BILLING, provider="custom")
    store = MemoryStatusStore(time) if shared else None
    caches = [
        StatusCache(firebase, clock=time, shared=store, jitter=partial(_fraction, number))
        for number in range(processes)
    ]
    end, due = time() + seconds, [(time(), number) for number in range(processes)]
    while due[0][0] <= end:
        at, number = heapq.heappop(due)
        time.now = max(time.now, at)
        assert await caches[number].is_alive(BILLING, 0)
        heapq.heappush(due, (time() + await caches[number]._refresh(), number))
    return firebase.look_ups


def modelled_look_ups(processes: int, *, shared: bool, seconds: float = TEN_MINUTES) -> float:
    """Return what the model says about the same processes."""
    fleet = replace(SMALL, callees=processes, shared_status=shared)
    return sum(simulate(fleet, Story(seconds=seconds)).look_ups)


class TestAgreement:
    """What the model says is what the real code does."""

    @pytest.mark.parametrize("processes", [1, 2, 30])
    async def test_shared_look_ups(self, processes: int) -> None:
        """A real pair that shares its look-ups asks as often as the model says, for itself and for a thousand."""
        real = await real_look_ups(processes, shared=True)
        for number in (processes, 1_000):
            assert modelled_look_ups(number, shared=True) == pytest.approx(real, abs=2)

    @pytest.mark.parametrize("processes", [1, 10])
    async def test_look_ups_of_each_process_by_itself(self, processes: int) -> None:
        """They grow with processes, in the model and in truth."""
        real = await real_look_ups(processes, shared=False)
        assert modelled_look_ups(processes, shared=False) == pytest.approx(real, rel=0.03)

    def test_the_figure_does_not_grow_from_ten_to_ten_thousand_processes(self) -> None:
        """The model of a fleet that shares its look-ups has one figure for all sizes, within the random pauses."""
        figures = [modelled_look_ups(processes, shared=True) for processes in (10, 1_000, 10_000)]
        assert max(figures) - min(figures) <= 1
        assert modelled_look_ups(1_000, shared=False) == pytest.approx(1_000 * 66.7, rel=0.01)

    def test_renewals_of_bound_tokens(self) -> None:
        """A real bound token signs in as often in six hours as one of the model."""

        async def real_sign_ins() -> int:
            count = 0

            async def sign_in() -> str:
                nonlocal count
                count += 1
                return "token"

            loop = asyncio.get_running_loop()
            token = BoundToken("product", sign_in, clock=loop.time, sleep=asyncio.sleep)
            await token.get()
            await asyncio.sleep(DAY_SECONDS / 4)
            assert token._renewal is not None
            await token._renewal.aclose()
            return count

        fleet = replace(SMALL, callers=20, services=1)
        modelled = sum(simulate(fleet, Story(seconds=DAY_SECONDS / 4, start_over_seconds=1)).sign_ins) / fleet.tokens
        assert modelled == pytest.approx(in_virtual_time(real_sign_ins()), abs=1)

    def test_the_stock_of_fresh_tokens(self) -> None:
        """It is computed by the library: nothing for a rare call, and enough for those that come during a sign-in."""
        assert stock_for(0.01) == 0
        assert 0.12 * 50 < stock_for(50) < 0.12 * 50 * 5


class TestLimits:
    def test_fresh_mode_beyond_the_limit_of_a_minute(self) -> None:
        """No more than 45,000 sign-ins a minute succeed, so the rest of the calls fails."""
        fleet = replace(SMALL, calls_per_second=1_500, callers=10, mode="fresh")
        result = simulate(fleet, Story(seconds=TEN_MINUTES, start_over_seconds=1))
        assert max(result.sign_ins) <= SIGN_INS_A_MINUTE
        assert result.answered(5) == pytest.approx(0.5, abs=0.02)
        assert result.refused > 0

    def test_fresh_mode_within_the_limits(self) -> None:
        """No call fails, and after the first ones none waits."""
        result = simulate(replace(SMALL, mode="fresh"), Story(seconds=TEN_MINUTES, start_over_seconds=1))
        assert sum(result.failed[1:]) == 0
        assert sum(result.waited[1:]) == 0

    def test_the_limit_of_a_day(self) -> None:
        """Look-ups of thousands of processes use it up, and then callees know no status."""
        fleet = Fleet(100, callers=2, services=1, callees=40_000, shared_status=False)
        result = simulate(fleet, Story(seconds=4 * 3_600))
        assert sum(result.look_ups) <= OPERATIONS_A_DAY
        assert result.answered(-2) == 0
        shared = simulate(replace(fleet, shared_status=True), Story(seconds=4 * 3_600))
        assert sum(shared.failed) == 0


class TestOutage:
    def test_proof_mode(self) -> None:
        """All calls are answered for five minutes, some for fifteen, and none after that: status counts no longer."""
        fleet = replace(SMALL, callers=200, services=1)
        result = fleet_report.outage(fleet)
        begins = int(fleet_report.OUTAGE_AT // MINUTE_SECONDS)
        assert result.answered(begins + 4) == 1
        assert 0.6 < result.answered(begins + 13) < 0.9
        assert result.answered(begins + int(OUTAGE_SECONDS // MINUTE_SECONDS) + 1) == 0
        assert result.answered(begins + 63) == pytest.approx(1, abs=0.01)

    def test_fresh_mode(self) -> None:
        """Calls fail as soon as the stock is used up."""
        result = fleet_report.outage(replace(SMALL, mode="fresh"))
        assert result.answered(int(fleet_report.OUTAGE_AT // MINUTE_SECONDS) + 1) == 0

    def test_redis(self) -> None:
        """While Redis is away, each process looks up by itself."""
        story = Story(seconds=TEN_MINUTES, redis_away_at=300, redis_away_seconds=120)
        result = simulate(replace(SMALL, callees=100), story)
        assert result.look_ups[2] < 10
        assert result.look_ups[6] == pytest.approx(100 * 60 / 9, rel=0.2)
        assert result.look_ups[9] < 10


class TestRestarts:
    @pytest.mark.parametrize("seconds", [30, 300])
    def test_a_deployment(self, seconds: float) -> None:
        """Each new process signs in for each service, spread over the time that the deployment takes."""
        fleet = replace(SMALL, callers=300, services=3)
        story = Story(seconds=1_800, start_over_seconds=60, deploy_at=900, deploy_over_seconds=seconds)
        counted = simulate(fleet, story).sign_ins_by_second
        during = sum(number for second, number in counted.items() if 900 <= second <= 900 + seconds)
        assert during == fleet.tokens
        assert max(number for second, number in counted.items() if second >= 900) <= 3 + fleet.tokens / seconds

    def test_cold_starts(self) -> None:
        """On a platform that starts processes for calls, the calls that come meanwhile wait."""
        ordinary = simulate(SMALL, Story(seconds=3_600))
        cold = simulate(SMALL, Story(seconds=3_600, cold_starts_an_hour=20))
        assert sum(cold.waited) > sum(ordinary.waited) + 20

    def test_a_cold_start_delays_the_calls_of_its_second(self) -> None:
        """The page says how long a process loads its code, and as many calls wait as come meanwhile."""
        assert round(START_SECONDS) == 1
        assert "(about a second)" in (fleet_report.CHARTS.parent / "choosing-a-mode.md").read_text()
        busy = Fleet(1_000, callers=10, services=1, callees=2, identities=1)
        ordinary, cold = (simulate(busy, Story(seconds=36_000, cold_starts_an_hour=rate)) for rate in (0, 20))
        waited = sum(cold.waited) - sum(ordinary.waited)
        of_sign_ins = 200 * 100 * 0.12
        assert waited == pytest.approx(200 * 100 * START_SECONDS + of_sign_ins, rel=0.3)


class TestReport:
    def test_the_page_has_the_tables_of_the_model(self) -> None:
        """The smallest fleet is simulated again here. `python -m bench.fleet` prints all rows."""
        page = (fleet_report.CHARTS.parent / "choosing-a-mode.md").read_text()
        for row in fleet_report.fleet_rows((fleet_report.SMALL,)):
            assert row in page
        assert all(f"charts/{chart.name}" in page for chart in fleet_report.CHARTS.glob("*.svg"))
        assert len(list(fleet_report.CHARTS.glob("fleet-*.svg"))) == 3

    def test_a_usage_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Another argument is an error."""
        assert main(["meassure"]) == 2
        assert "[measure]" in capsys.readouterr().err
