"""The charts of a run: which of its figures are drawn, and how."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from bench import charts, route, targets, verifying
from bench.results import CPU, P50, P99, P999, THROUGHPUT, TIMELINE, Measurement, Run, Section

MOST_LINES = 7
"""A chart with more lines cannot be read, so it becomes one chart for each database."""
SUMMARY = "summary"

Picture = tuple[str, str, Figure]
"""The name of its file without the suffix, what it shows, and the chart."""


def pictures(section: Section) -> list[Picture]:
    """Return the charts of a section."""
    draw: dict[str, Callable[[Section], Iterator[Picture]]] = {
        "verifying": _verifying,
        "route": _route,
        "calling": partial(_quantities, chosen=(P50, P999, CPU), x="calls a second"),
        "purchase": partial(_quantities, chosen=(THROUGHPUT, P99)),
        "bad_times": _timelines,
    }
    return list(draw.get(section.name, _quantities)(section))


def summary(run: Run) -> Figure | None:
    """Return the chart of the README: what a verification costs, and what authentication adds to a route."""
    alone = _of(run, "verifying", verifying.SUMMARY)
    whole = [
        Measurement(_CALLERS[case], CPU, found.unit, found.values)
        for case in _CALLERS
        if (found := targets.added(run, case))
    ]
    if not alone or not whole:
        return None
    return charts.two_bars(
        ("To verify a call, in process", sorted(alone, key=_median)),
        ("Added to GET /products", sorted(whole, key=_median)),
        "µs of processor time",
    )


_CALLERS = {
    route.FRESH: "mstoken, fresh mode",
    route.PROOF: "mstoken, proof mode",
    route.ADMIN: route.ADMIN,
    route.SECRET: "a shared secret (Fernet)",
}


def _median(measurement: Measurement) -> float:
    return measurement.median


def _of(run: Run, section: str, cases: Sequence[str]) -> list[Measurement]:
    return [found for case in cases if (found := run.find(section, case, CPU))]


def _verifying(section: Section) -> Iterator[Picture]:
    whole = [
        measurement
        for measurement in section.measurements
        if measurement.quantity == CPU and not measurement.case.startswith(verifying.PART)
    ]
    title = "Verifying a call: processor time"
    yield "verifying", title, charts.bars(title, "µs", sorted(whole, key=_median))
    if parts := verifying_parts(section):
        title = "Where the time of a verification goes (spent ids in SQLite)"
        yield "verifying-parts", title, charts.stacks(title, "µs of processor time", parts)


def verifying_parts(section: Section) -> dict[str, dict[str, float]]:
    """Return the parts of a verification in each mode, in µs. Each was measured by itself; the rest is left over."""
    medians = {found.case: found.median for found in section.measurements if found.quantity == CPU}
    needed = {*verifying.PARTS, verifying.FRESH, verifying.PROOF, verifying.RSA_CHECK, verifying.P256_CHECK}
    if not needed <= medians.keys():
        return {}
    rsa, p256, spend = medians[verifying.RSA_CHECK], medians[verifying.P256_CHECK], medians[verifying.SPEND]
    fresh = {
        "read the token or the proof": medians[verifying.READ_TOKEN],
        "check the signature": rsa,
        "other checks of firebase-admin, or of the proof": max(0.0, medians[verifying.ADMIN_VERIFY] - rsa),
        "spend the id": spend,
    }
    proof = {
        "read the token or the proof": medians[verifying.HASH_TOKEN] + medians[verifying.READ_PROOF],
        "check the signature": p256,
        "other checks of firebase-admin, or of the proof": max(
            0.0, medians[verifying.CHECK_PROOF] - medians[verifying.READ_PROOF] - p256
        ),
        "spend the id": spend,
    }
    return {
        label: parts | {"our other checks, and what surrounds them": max(0.0, medians[case] - sum(parts.values()))}
        for label, case, parts in (
            ("fresh mode", verifying.FRESH, fresh),
            ("proof mode", verifying.PROOF, proof),
        )
    }


def _route(section: Section) -> Iterator[Picture]:
    if parts := route_parts(section):
        title = "Where the time of GET /products?limit=20 goes"
        yield "route-parts", title, charts.stacks(title, "µs of processor time for a request", parts)
    found = [each for each in section.measurements if each.quantity == THROUGHPUT]
    title = "GET /products?limit=20: requests a second"
    yield "route-throughput", title, charts.bars(title, "1/s", found)


def route_parts(section: Section) -> dict[str, dict[str, float]]:
    """Return what a request of each case is made of, in µs: the framework, the service, and authentication."""
    medians = {found.case: found.median for found in section.measurements if found.quantity == CPU}
    if not {route.BARE, route.OFF} <= medians.keys():
        return {}
    bare, off = medians[route.BARE], medians[route.OFF]
    whole = {route.BARE: {"uvicorn and FastAPI": bare}}
    service = {"uvicorn and FastAPI": bare, "the service: its middlewares, the query, the answer": max(0.0, off - bare)}
    whole[route.OFF] = service
    for case in (route.FRESH, route.PROOF, route.ADMIN, route.SECRET):
        if case in medians:
            whole[case] = service | {"authentication": max(0.0, medians[case] - off)}
    return whole


def _timelines(section: Section) -> Iterator[Picture]:
    """Draw what was answered at each time."""
    lines = [each for each in section.measurements if each.quantity.startswith(TIMELINE)]
    for quantity, unit in dict.fromkeys((each.quantity, each.unit) for each in lines):
        title = f"{section.title}{quantity.removeprefix(TIMELINE)}"
        found = [each for each in lines if each.quantity == quantity]
        name = slug(f"{section.name} {quantity}")
        yield name, title, charts.lines(title, "seconds", f"answers, {unit}", found, is_log=False)


def _quantities(section: Section, *, chosen: Collection[str] = (), x: str = "stored") -> Iterator[Picture]:
    """Draw the chosen quantities of a section, or all: bars, or lines over `x` where there are several sizes."""
    for quantity, unit in dict.fromkeys((each.quantity, each.unit) for each in section.measurements):
        if chosen and quantity not in chosen:
            continue
        found = [each for each in section.measurements if (each.quantity, each.unit) == (quantity, unit)]
        name, title = slug(f"{section.name} {quantity}"), f"{section.title}: {quantity}"
        single = [each for each in found if each.at is None]
        for part, some in _readable([each for each in found if each.at is not None]).items():
            whole = title + (f", {part}" if part else "")
            sizes = {each.at for each in some}
            if len(sizes) > 1:
                yield slug(f"{name} {part}"), whole, charts.lines(whole, x, f"{quantity}, {unit}", some)
            elif sizes:
                title, single = f"{whole} ({sizes.pop():,g} {x})", some
        if len(single) > 1:
            yield name, title, charts.bars(title, unit, single)


def _readable(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Divide series by the last part of their names, such as "PostgreSQL", if there are too many for one chart."""
    if len({each.case for each in measurements}) <= MOST_LINES:
        return {"": list(measurements)}
    parts: dict[str, list[Measurement]] = {}
    for each in measurements:
        parts.setdefault(each.case.rpartition(", ")[2], []).append(each)
    return parts


def slug(text: str) -> str:
    """Return a text as the name of a file: "p99.9 of bills" is "p99-9-of-bills"."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
