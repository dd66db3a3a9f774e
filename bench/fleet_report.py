"""The tables and charts of docs/choosing-a-mode.md, "A model of the fleet", from the simulation in `bench.fleet`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import charts
from bench.calling import MINUTE_SECONDS, OPERATIONS_A_DAY, SIGN_INS_A_MINUTE
from bench.charts import OTHERS
from bench.fleet import SPEND_SECONDS, Fleet, Result, Story, simulate

CHARTS = Path(__file__).resolve().parents[1] / "docs" / "charts"
HOUR_SECONDS = 3600.0
DAY_MINUTES = 1_440

STEADY = Story(seconds=3 * HOUR_SECONDS, start_over_seconds=54 * MINUTE_SECONDS, limited=False)
"""The processes start evenly within one renewal, so after that the rates are those of any hour. Firebase's limits do
not count, so that the rates are what a fleet asks for."""
STEADY_MINUTES = slice(60, 180)
SMALL = Fleet(10, callers=6, services=1, callees=6)
MEDIUM = Fleet(1_000, callers=40, services=2, callees=40)
LARGE = Fleet(10_000, callers=1_000, services=3, callees=1_000)
LARGEST = Fleet(100_000, callers=10_000, services=3, callees=10_000)
FLEETS = (SMALL, MEDIUM, LARGE, LARGEST)
LOOK_UP_PROCESSES = (10, 100, 1_000, 10_000)
OUTAGE_AT = 2 * HOUR_SECONDS
OUTAGE = Story(
    seconds=4 * HOUR_SECONDS, start_over_seconds=54 * MINUTE_SECONDS, outage_at=OUTAGE_AT, outage_seconds=HOUR_SECONDS
)
DEPLOYMENTS = (30.0, 300.0)
"""In how many seconds a deployment replaces all processes."""


def a_day(counted: Sequence[float]) -> float:
    """Return what the steady minutes make in a day."""
    steady = counted[STEADY_MINUTES]
    return sum(steady) / len(steady) * DAY_MINUTES


def fleet_rows(fleets: Sequence[Fleet] = FLEETS) -> list[str]:
    """Return a row of the table for each fleet in proof mode."""
    rows = []
    for fleet in fleets:
        result = simulate(fleet, STEADY)
        start = simulate(fleet, Story(seconds=HOUR_SECONDS / 6, start_over_seconds=30))
        alone = a_day(simulate(replace(fleet, shared_status=False), STEADY).look_ups)
        redis = a_day(result.redis) / DAY_MINUTES / MINUTE_SECONDS
        rows.append(
            f"| {fleet.calls_per_second:,.0f} | {fleet.callers:,} to {fleet.services} | {a_day(result.sign_ins):,.0f} "
            f"| {max(start.sign_ins):,.0f} | {a_day(result.look_ups):,.0f} | {alone:,.0f}"
            f"{': refused' if alone > OPERATIONS_A_DAY else ''} "
            f"| {redis:,.0f} ({redis * SPEND_SECONDS:.1%}) |"
        )
    return rows


def outage_rows(fleet: Fleet = LARGE) -> list[str]:
    """Return a row for each mode: the part of the calls that are answered, minutes after Firebase stopped answering."""
    minutes = (1, 5, 10, 14, 16, 30, 59, 62)
    rows = [f"| minutes after it began | {' | '.join(map(str, minutes))} |", f"|---|{'---|' * len(minutes)}"]
    for mode in ("fresh", "proof"):
        result = outage(replace(fleet, mode=mode, calls_per_second=500 if mode == "fresh" else fleet.calls_per_second))
        begins = int(OUTAGE_AT // MINUTE_SECONDS)
        answered = " | ".join(f"{result.answered(begins + minute):.0%}" for minute in minutes)
        rows.append(f"| {mode} | {answered} |")
    return rows


def outage(fleet: Fleet) -> Result:
    """Return an hour without Firebase, in the third of four hours."""
    return simulate(fleet, OUTAGE)


def draw_look_ups() -> None:
    """Draw how look-ups grow with processes, alone and shared."""
    figure, axes = charts.figure(title="Look-ups of identities", x="processes of callees", y="look-ups a day")
    for shared, label in ((False, "each process by itself"), (True, "shared through Redis")):
        fleets = [replace(SMALL, callees=number, shared_status=shared) for number in LOOK_UP_PROCESSES]
        axes.plot(LOOK_UP_PROCESSES, [a_day(simulate(fleet, STEADY).look_ups) for fleet in fleets], "o-", label=label)
    axes.axhline(OPERATIONS_A_DAY, color=OTHERS, linestyle="--", label="Firebase's limit for a project")
    axes.set(xscale="log", yscale="log")
    charts.legend(axes)
    charts.save(figure, CHARTS / "fleet-look-ups.svg")


def draw_outage(fleet: Fleet = LARGE) -> None:
    """Draw the calls that are answered during an hour without Firebase and after it."""
    figure, axes = charts.figure(
        title="An hour without Firebase", x="minutes after it began", y="calls that are answered, in %"
    )
    begins = int(OUTAGE_AT // MINUTE_SECONDS)
    for mode in ("fresh", "proof"):
        result = outage(replace(fleet, mode=mode, calls_per_second=500 if mode == "fresh" else fleet.calls_per_second))
        minutes = range(-5, 75)
        answered = [100 * result.answered(begins + minute) for minute in minutes]
        axes.plot(minutes, answered, label=f"{mode} mode")
    charts.legend(axes)
    charts.save(figure, CHARTS / "fleet-outage.svg")


def draw_deployment(fleet: Fleet = LARGEST) -> None:
    """Draw the sign-ins of a deployment that replaces all processes, quickly and slowly."""
    figure, axes = charts.figure(
        title=f"A deployment of {fleet.callers:,} processes that call {fleet.services} services each",
        x="seconds after it began",
        y="sign-ins a second",
    )
    at = HOUR_SECONDS / 6
    for seconds in DEPLOYMENTS:
        story = Story(
            seconds=at + 2 * max(DEPLOYMENTS), start_over_seconds=60, deploy_at=at, deploy_over_seconds=seconds
        )
        counted = simulate(fleet, story).sign_ins_by_second
        span = range(int(1.3 * max(DEPLOYMENTS)))
        axes.plot(span, [counted.get(int(at) + second, 0.0) for second in span], label=f"within {seconds:.0f} s")
    axes.axhline(SIGN_INS_A_MINUTE / 60, color=OTHERS, linestyle="--", label="Firebase's limit, on average")
    charts.legend(axes)
    charts.save(figure, CHARTS / "fleet-deployment.svg")


def write() -> None:
    """Print the tables, and draw the charts into docs/charts."""
    sys.stdout.write("\n".join([*fleet_rows(), "", *outage_rows()]) + "\n")
    draw_look_ups()
    draw_outage()
    draw_deployment()
