"""The targets, computed from runs that were never measured."""

import pytest

from bench import calling, route, targets, verifying
from bench.results import CPU, START, THROUGHPUT, Measurement, Run, Section
from bench.targets import QUICK_FACTOR, TARGETS, Target, Verdict, quick_verdicts, verdicts
from tests.bench.runs import ROUTE, VERIFYING, a_run


def value(text: str, run: Run) -> float | None:
    (found,) = [verdict.value for verdict in verdicts(run) if verdict.target.text.startswith(text)]
    return found


class TestValues:
    def test_a_run_that_meets_its_targets(self) -> None:
        """Each target that a run has figures for is met or missed; the others are not measured."""
        found = {verdict.target.text: verdict.is_met for verdict in verdicts(a_run())}
        assert set(found.values()) == {True, None}
        assert sum(met is True for met in found.values()) == 9

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Verifying: fresh mode with SQLite / firebase-admin", 0.1),
            ("Verifying: fresh mode with SQLite / PyJWT", 0.8),
            ("Verifying: proof mode", 0.3),
            ("The route with authentication off", 4.5),
            ("What fresh mode adds to the route / the verifier", 90 / 80),
            ("What proof mode adds to the route / the verifier", 100 / 90),
            ("What fresh mode adds to the route / firebase-admin", 0.09),
            ("What proof mode adds to the route / firebase-admin", 0.1),
            ("Calls that wait less than 1 ms", 100.0),
        ],
    )
    def test_each_ratio(self, text: str, expected: float) -> None:
        """Each target divides what its text says."""
        assert value(text, a_run()) == pytest.approx(expected)

    def test_the_rounds_are_divided_not_their_medians(self) -> None:
        """A round in which the machine was busy has the same ratio as the others."""
        above = Measurement(verifying.FRESH, CPU, "µs", [10.0, 30.0, 20.0])
        below = Measurement(verifying.PLAIN_ADMIN, CPU, "µs", [100.0, 300.0, 400.0])
        run = Run("", "", a_run().machine, {}, [Section("verifying", "", 1.0, [above, below])])
        assert value("Verifying: fresh mode with SQLite / firebase-admin", run) == pytest.approx(0.1)

    def test_bills(self) -> None:
        """Purchases are compared with those without authentication on the same database, and with those before."""
        rates = {route.OFF: 200.0, route.PROOF: 150.0, f"{route.OFF}, {route.POSTGRESQL}": 100.0}
        rates[f"{route.PROOF}, {route.POSTGRESQL}"] = 92.0
        bills = [Measurement(case, THROUGHPUT, "1/s", [rate]) for case, rate in rates.items()]
        run = a_run(VERIFYING, ROUTE, Section("purchase", "A purchase", 1.0, bills))
        assert value("`POST /bills` in proof mode, bills a second / without", run) == pytest.approx(0.75)
        assert value("`POST /bills` in proof mode, PostgreSQL, bills a second / without", run) == pytest.approx(0.92)
        assert value("`POST /bills` in proof mode, PostgreSQL, bills a second / before", run) == pytest.approx(0.8)
        assert value("`POST /bills` in fresh mode, bills a second / without", run) is None

    def test_the_slowest_start_counts(self) -> None:
        """Every process has to be ready in time."""
        starts = [Measurement("user", START, "s", [1.0]), Measurement("billing", START, "s", [2.5])]
        run = a_run(VERIFYING, ROUTE, Section("growth", "Growth", 1.0, starts))
        assert value("A process of the shop is ready", run) == 2.5

    def test_growth_is_judged_where_it_was_measured_up_to_millions(self) -> None:
        """The run of `make bench-growth` decides, if there is one. The bound is the logarithm of what is stored."""

        def spends(*points: tuple[float, float]) -> Run:
            found = [Measurement("SQLite", "spend", "µs", [value], at=at) for at, value in points]
            return a_run(VERIFYING, ROUTE, Section("growth", "Growth", 1.0, found))

        text = "The time that grows the most"
        small, large = spends((1.0, 10.0), (1_024.0, 55.0)), spends((1.0, 10.0), (1_048_576.0, 420.0))
        assert value(text, small) == pytest.approx(0.5)
        (verdict,) = [each for each in verdicts(small, large) if each.target.text.startswith(text)]
        assert verdict.value == pytest.approx(2.0)

    def test_waits_are_judged_where_they_are_worst(self) -> None:
        """One mode at one rate that makes calls wait is enough to miss the target."""
        assert targets.steady_waits(a_run()) == 100.0
        slow = Measurement(calling.PROOF, calling.AT_ONCE, "%", [98.0], at=500.0)
        run = Run("", "", a_run().machine, {}, [Section("calling", "", 1.0, [slow])])
        assert targets.steady_waits(run) == 98.0

    def test_a_run_without_figures(self) -> None:
        """Nothing is made up: each target is not measured."""
        run = Run("", "", a_run().machine, {}, [])
        assert {verdict.value for verdict in verdicts(run)} == {None}
        assert {verdict.is_met for verdict in verdicts(run)} == {None}


class TestVerdicts:
    AT_MOST = Target("at most", lambda run: None, 2.0, is_in_quick=True)
    AT_LEAST = Target("at least", lambda run: None, 2.0, is_at_most=False)

    @pytest.mark.parametrize(
        ("target", "measured", "met", "missed_by"),
        [
            (AT_MOST, 2.0, True, 0.0),
            (AT_MOST, 3.0, False, 0.5),
            (AT_LEAST, 2.0, True, 0.0),
            (AT_LEAST, 1.5, False, 0.25),
        ],
        ids=["at most, met", "at most, missed", "at least, met", "at least, missed"],
    )
    def test_met_or_missed(self, target: Target, measured: float, met: bool, missed_by: float) -> None:
        """A miss is told as a part of the bound."""
        verdict = Verdict(target, measured)
        assert verdict.is_met is met
        assert verdict.missed_by == pytest.approx(missed_by)

    def test_far_off_is_more_than_half_above_the_bound(self) -> None:
        """A small miss does not fail `make bench-quick`."""
        assert not Verdict(self.AT_MOST, 2.0 * QUICK_FACTOR).is_far_off
        assert Verdict(self.AT_MOST, 2.0 * QUICK_FACTOR + 0.01).is_far_off

    def test_a_miss_that_is_known_is_not_far_off(self) -> None:
        """What the kept results say already does not fail `make bench-quick`; half as much again does."""
        assert not Verdict(self.AT_MOST, 5.0, kept=4.0).is_far_off
        assert Verdict(self.AT_MOST, 6.1, kept=4.0).is_far_off

    def test_a_result_that_is_better_than_its_bound_keeps_the_bound(self) -> None:
        """A good result in the past does not make the check stricter."""
        assert not Verdict(self.AT_MOST, 2.9, kept=0.5).is_far_off

    def test_what_was_not_measured_is_not_far_off(self) -> None:
        """A part that this machine cannot measure does not fail the check."""
        assert not Verdict(self.AT_MOST, None).is_far_off

    def test_quick_ratios_are_upper_bounds(self) -> None:
        """`make bench-quick` compares ratios with their upper bounds, and needs only two sections."""
        quick = [target for target in TARGETS if target.is_in_quick]
        assert len(quick) >= 5
        assert all(target.is_at_most for target in quick)
        found = quick_verdicts(a_run(), None)
        assert [verdict.target for verdict in found] == quick
        assert None not in {verdict.value for verdict in found}

    def test_a_run_that_is_off(self) -> None:
        """A verifier that has become twice as slow is far off in each of its ratios."""
        slow = a_run({**VERIFYING, verifying.FRESH: 200.0})
        far_off = [verdict.target.text for verdict in quick_verdicts(slow, None) if verdict.is_far_off]
        assert far_off == [
            "Verifying: fresh mode with SQLite / firebase-admin as it comes",
            "Verifying: fresh mode with SQLite / PyJWT with the key in hand and one insert",
        ]
