"""Traces and metrics of the library, through the API of OpenTelemetry. `docs/telemetry.md` describes all of them.

The library measures only if the program has set up OpenTelemetry. Before that, `measure`, `count` and `observe` build
no attributes, and OpenTelemetry is not even imported: a program that sets it up has imported it.

No attribute may have a token, a key, or anything about a user. `mstoken.caller` is the uid of a service identity, or
"user" for every user.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import ref

from typing_extensions import override

from mstoken.per_process import PerProcess

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

SCOPE = "mstoken"
"""The name of the instrumentation scope."""

CALLER = "mstoken.caller"
AUDIENCE = "mstoken.audience"
MODE = "mstoken.mode"
VERDICT = "mstoken.verdict"
CODE = "mstoken.code"
STORE = "mstoken.replay.store"
ERROR_TYPE = "error.type"
ATTRIBUTES = frozenset({CALLER, AUDIENCE, MODE, VERDICT, CODE, STORE, ERROR_TYPE})
"""All attributes that the library uses. `error.type` is OpenTelemetry's, the others are ours."""

Attributes: TypeAlias = Mapping[str, str]
Owner = TypeVar("Owner")

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The bounds of the histograms' buckets. A verification takes less than a millisecond, a sign-in often 100."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Work of which each run is a span, named `span`, and a value of the histogram `metric`, in seconds."""

    span: str
    metric: str
    description: str


@dataclass(frozen=True, slots=True)
class Counter:
    """A metric that counts."""

    metric: str
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric that is read when metrics are exported."""

    metric: str
    unit: str
    description: str


VERIFICATION = Operation("mstoken.verification", "mstoken.verification.duration", "Duration of verifications of a call")
SIGN_IN = Operation("mstoken.sign_in", "mstoken.sign_in.duration", "Duration of sign-ins, with the custom token")
REPLAY = Operation("mstoken.replay.spend", "mstoken.replay.spend.duration", "Duration of calls of the replay store")
RENEWALS = Counter("mstoken.token.renewals", "{renewal}", "Renewals of bound tokens, with those that failed")
STOCK = Gauge("mstoken.token.stock", "{token}", "Fresh tokens that are ready")
CERTIFICATE_AGE = Gauge("mstoken.certificate.age", "s", "Time since the certificates were last fetched")
STATUS_AGE = Gauge("mstoken.identity_status.age", "s", "Age of the oldest status of an identity in use")

OPERATIONS = (VERIFICATION, SIGN_IN, REPLAY)
COUNTERS = (RENEWALS,)
GAUGES = (STOCK, CERTIFICATE_AGE, STATUS_AGE)


def measure(
    operation: Operation, attributes: Callable[[BaseException | None], Attributes]
) -> AbstractContextManager[object]:
    """Measure the block as one run of `operation`.

    `attributes` is called at the end of the block, with the exception that ends it. If it returns an `error.type`, the
    span has the status of an error.
    """
    sdk = _sdk()
    return _OFF if sdk is None else _Measured(sdk, operation, attributes)


def count(counter: Counter, attributes: Callable[[], Attributes]) -> None:
    """Add one to `counter`."""
    sdk = _sdk()
    if sdk is not None:
        sdk.counters[counter].add(1, attributes())


def observe(gauge: Gauge, owner: Owner, read: Callable[[Owner], Iterable[tuple[float, Attributes]]]) -> None:
    """Read the values of `gauge` with `read(owner)` at each export, until `owner` is gone.

    If several owners have a value for the same attributes, the largest value is exported.
    """
    key = (gauge, id(owner))
    _observed[key] = (ref(owner, lambda _: _observed.pop(key, None)), read)
    _sdk()  # The gauges must exist, although nothing was measured yet.


def begin_new_trace() -> None:
    """Take the present task out of the trace that it began in.

    For a task that goes on after the request in which it began. Without this, all later work of the task would belong
    to the trace of that request.
    """
    api = sys.modules.get("opentelemetry.context")
    if api is not None:
        api.attach(api.Context())


def error_type(error: BaseException) -> str:
    """Return the name of an exception's class, as `error.type` has it."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_OFF = nullcontext()
_observed: "dict[tuple[Gauge, int], tuple[ref[Any], Callable[[Any], Iterable[tuple[float, Attributes]]]]]" = {}
"""What the gauges read. A dict, because adding to it and copying its values need no lock."""


class _Sdk:
    """The tracer and the instruments of the providers that the program has set up."""

    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        from opentelemetry import context, trace

        self.trace = trace
        self.context = context
        self.tracer = tracer_provider.get_tracer(SCOPE, _version())
        meter = meter_provider.get_meter(SCOPE, _version())
        self.histograms = {
            operation: meter.create_histogram(
                operation.metric, "s", operation.description, explicit_bucket_boundaries_advisory=_SECONDS
            )
            for operation in OPERATIONS
        }
        self.counters = {
            counter: meter.create_counter(counter.metric, counter.unit, counter.description) for counter in COUNTERS
        }
        for gauge in GAUGES:
            meter.create_observable_gauge(gauge.metric, [_reader(gauge)], gauge.unit, gauge.description)


def _version() -> str | None:
    """Return the version of the library; None in deployed functions, which carry it without its metadata."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mstoken")
    except PackageNotFoundError:
        return None


def _reader(gauge: Gauge) -> "Callable[[CallbackOptions], Iterable[Observation]]":
    from opentelemetry.metrics import Observation

    def read(_: "CallbackOptions") -> "Iterable[Observation]":
        largest: dict[tuple[tuple[str, str], ...], float] = {}
        for (observed, _owner), (owner_ref, values_of) in list(_observed.items()):
            owner = owner_ref() if observed is gauge else None
            for value, attributes in values_of(owner) if owner is not None else ():
                key = tuple(sorted(attributes.items()))
                largest[key] = max(value, largest.get(key, value))
        return [Observation(value, dict(key)) for key, value in largest.items()]

    return read


class _Measured(AbstractContextManager[object]):
    """One run of an operation."""

    def __init__(
        self, sdk: _Sdk, operation: Operation, attributes: Callable[[BaseException | None], Attributes]
    ) -> None:
        self._sdk = sdk
        self._operation = operation
        self._attributes = attributes

    @override
    def __enter__(self) -> None:
        sdk = self._sdk
        self._span = sdk.tracer.start_span(self._operation.span)
        self._token = sdk.context.attach(sdk.trace.set_span_in_context(self._span))
        self._began = time.perf_counter()

    @override
    def __exit__(self, _type: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        seconds = time.perf_counter() - self._began
        sdk, span = self._sdk, self._span
        attributes = self._attributes(error)
        if span.is_recording():
            span.set_attributes(attributes)
            if ERROR_TYPE in attributes:
                span.set_status(sdk.trace.StatusCode.ERROR)
        # While the span is current, so that an exemplar of the value can name its trace.
        sdk.histograms[self._operation].record(seconds, attributes)
        sdk.context.detach(self._token)
        span.end()


_API = ("opentelemetry.trace", "opentelemetry.metrics")
"""The modules of the API. What they provide by themselves measures nothing. It has no public way to ask for that."""

_lock = PerProcess(threading.Lock)
_found: tuple[Any, Any, _Sdk | None] = (None, None, None)
"""The providers that were seen last, and what was made of them."""


def _sdk() -> _Sdk | None:
    """Return the instruments, or None if the program has not set up OpenTelemetry."""
    trace, metrics = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.metrics")
    if trace is None or metrics is None:
        return None
    # To ask the API takes ten times as long, because it looks into the environment each time. The private names are
    # those of opentelemetry-api 1.45. Without them, the API is asked.
    internal = sys.modules.get("opentelemetry.metrics._internal", metrics)
    if getattr(trace, "_TRACER_PROVIDER", trace) is None and getattr(internal, "_METER_PROVIDER", internal) is None:
        return None
    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    found = _found
    return found[2] if found[0] is providers[0] and found[1] is providers[1] else _make(*providers)


def _make(tracer_provider: Any, meter_provider: Any) -> _Sdk | None:
    global _found
    with _lock.get():
        if _found[0] is not tracer_provider or _found[1] is not meter_provider:
            is_set_up = any(not type(each).__module__.startswith(_API) for each in (tracer_provider, meter_provider))
            sdk = _Sdk(tracer_provider, meter_provider) if is_set_up else None
            _found = (tracer_provider, meter_provider, sdk)
        return _found[2]
