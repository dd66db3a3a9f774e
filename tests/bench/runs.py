"""Runs that were never measured, for tests of what is made of runs."""

from collections.abc import Mapping

from bench import calling, route, verifying
from bench.results import CPU, THROUGHPUT, Machine, Measurement, Run, Section

MACHINE = Machine("a processor", 2, 8.0, "a system", 0.5)

VERIFYING = {
    verifying.FRESH: 80.0,
    verifying.PROOF: 90.0,
    verifying.PLAIN_ADMIN: 800.0,
    verifying.GOOGLE_AUTH: 700.0,
    verifying.PYJWT_SPEND: 100.0,
    verifying.AUTH0: 300.0,
    verifying.RSA_CHECK: 20.0,
    verifying.P256_CHECK: 50.0,
    verifying.READ_TOKEN: 10.0,
    verifying.ADMIN_VERIFY: 30.0,
    verifying.HASH_TOKEN: 1.0,
    verifying.READ_PROOF: 9.0,
    verifying.CHECK_PROOF: 65.0,
    verifying.SPEND: 20.0,
}
"""Microseconds of each case."""
ROUTE = {
    route.BARE: 100.0,
    route.OFF: 450.0,
    route.FRESH: 540.0,
    route.PROOF: 550.0,
    route.ADMIN: 1_450.0,
    route.SECRET: 480.0,
}


def times(cases: Mapping[str, float], *, spread: float = 0.01) -> list[Measurement]:
    """Return the processor times of cases in three rounds, which differ by this part."""
    return [
        Measurement(case, CPU, "µs", [value * (1 - spread), value, value * (1 + spread)])
        for case, value in cases.items()
    ]


def a_run(
    verifying_times: Mapping[str, float] = VERIFYING, route_times: Mapping[str, float] = ROUTE, *more: Section
) -> Run:
    """Return a run whose targets are met, unless other figures are given."""
    rates = [Measurement(case, THROUGHPUT, "1/s", [1e6 / value]) for case, value in route_times.items()]
    calls = [
        Measurement(case, calling.AT_ONCE, "%", [100.0], at=rate) for case in calling.OURS for rate in calling.RATES
    ]
    sections = [
        Section("verifying", "Verifying a call", 60.0, times(verifying_times)),
        Section("route", "The protected route", 120.0, times(route_times) + rates),
        Section("calling", calling.TITLE, 60.0, calls, ["Nothing: there is no such thing"]),
        *more,
    ]
    return Run("2026-11-26T21:00:00Z", "abc123", MACHINE, {"Python": "3.11.7", "uvicorn": "1.0"}, sections)
