"""What the library measures, and that it measures nothing unless a program has set up OpenTelemetry."""

import asyncio
import gc
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider, set_meter_provider
from opentelemetry.trace import NoOpTracerProvider, StatusCode, set_tracer_provider

from mstoken import TokenVerifier, telemetry
from mstoken.callee.callers import Admission, Call
from mstoken.callee.certificates import CertificateCache, Fetched
from mstoken.callee.status import StatusCache
from mstoken.caller.bound import RENEWAL_AGE_SECONDS, BoundToken
from mstoken.errors import Refusal, SignInError, SignInUnavailable
from mstoken.refresher import Refresher
from mstoken.strict_jwt import Unverified
from mstoken.testing import FakeFirebase
from mstoken.wire import SERVICE_TOKEN_HEADER
from tests.clock import FakeClock, SkippingSleep
from tests.recorded import Recorded, not_set_up, recording

BILLING = Admission.of(False, {"billing"})
USERS = Admission.of(True, ())


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """OpenTelemetry, set up for a test."""
    with recording() as recorded:
        yield recorded


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test advances it."""
    return FakeClock()


async def authorize(verifier: TokenVerifier, call: Call, admission: Admission = BILLING) -> None:
    """Verify a call, whatever the result is."""
    try:
        await verifier.authorize(admission, call)
    except Refusal:
        return


def call_of_billing(firebase: FakeFirebase, audience: str = "product") -> Call:
    return Call("GET", "/products", [firebase.service_headers("billing", to=audience)[SERVICE_TOKEN_HEADER]], [], [])


class TestVerification:
    """Each verification is a span and a value of a histogram."""

    async def test_an_accepted_call(self, recorded: Recorded) -> None:
        """The span has the caller, the audience, the mode and the verdict. In it, the spend is a span."""
        firebase = FakeFirebase()
        await authorize(firebase.verifier("product"), call_of_billing(firebase))
        (span,), (spend,) = recorded.named("mstoken.verification"), recorded.named("mstoken.replay.spend")
        expected = {
            "mstoken.caller": "svc:billing",
            "mstoken.audience": "product",
            "mstoken.mode": "fresh",
            "mstoken.verdict": "accepted",
        }
        assert span.attributes == expected
        assert span.status.status_code is StatusCode.UNSET
        assert spend.parent is not None
        assert span.context is not None
        assert spend.parent.span_id == span.context.span_id
        assert spend.attributes == {"mstoken.replay.store": "MemoryReplayStore"}
        (point,) = recorded.points("mstoken.verification.duration")
        assert (dict(point.attributes), point.count) == (expected, 1)
        assert 0 < point.sum < 10
        (point,) = recorded.points("mstoken.replay.spend.duration")
        assert point.count == 1

    async def test_a_refused_call(self, recorded: Recorded) -> None:
        """The code of the refusal is an attribute. A refusal is not an error of this service."""
        firebase = FakeFirebase()
        verifier, call = firebase.verifier("product"), call_of_billing(firebase)
        await authorize(verifier, call)
        await authorize(verifier, call)
        await authorize(verifier, call_of_billing(firebase, audience="user"))
        spans = recorded.named("mstoken.verification")[1:]
        assert [span.attributes["mstoken.code"] for span in spans if span.attributes] == [
            "token_replayed",
            "token_wrong_audience",
        ]
        assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
        verdicts = {
            (point.attributes["mstoken.verdict"], point.attributes.get("mstoken.code"))
            for point in recorded.points("mstoken.verification.duration")
        }
        assert verdicts == {
            ("accepted", None),
            ("refused", "token_replayed"),
            ("refused", "token_wrong_audience"),
        }

    async def test_an_outage_is_an_error(self, recorded: Recorded) -> None:
        """A call that cannot be verified now has the verdict "unavailable", and its span is an error."""
        firebase = FakeFirebase()
        firebase.down = True
        await authorize(firebase.verifier("product"), call_of_billing(firebase))
        (span,) = recorded.named("mstoken.verification")
        assert span.attributes is not None
        assert span.attributes["mstoken.verdict"] == "unavailable"
        assert span.attributes["error.type"] == span.attributes["mstoken.code"] == "verifier_unavailable"
        assert span.status.status_code is StatusCode.ERROR

    async def test_a_user_is_not_named(self, recorded: Recorded) -> None:
        """The caller is "user" for every user. The attributes have no uid and no address."""
        firebase = FakeFirebase()
        authorization = firebase.user_headers("maya-4711", email="maya@example.com")["Authorization"]
        await authorize(firebase.verifier("product"), Call("GET", "/", [], [], [authorization]), USERS)
        (span,) = recorded.named("mstoken.verification")
        assert span.attributes is not None
        assert (span.attributes["mstoken.caller"], span.attributes["mstoken.mode"]) == ("user", "user")
        exported = span.to_json() + repr(list(recorded.all_points()))
        assert "maya" not in exported

    async def test_a_defect_is_an_error(self, recorded: Recorded) -> None:
        """The name of its class is the error's type, and its message, which may quote anything, is not exported."""

        class Broken(FakeFirebase):
            async def verify(self, jwt: Unverified, key_id: str) -> dict[str, object]:
                raise LookupError("secret words")

        firebase = Broken()
        with pytest.raises(LookupError):
            await firebase.verifier("product").authorize(BILLING, call_of_billing(firebase))
        (span,) = recorded.named("mstoken.verification")
        assert span.attributes is not None
        assert (span.attributes["mstoken.verdict"], span.attributes["error.type"]) == ("failed", "LookupError")
        assert "secret words" not in span.to_json()


class TestSignIn:
    """Each sign-in is a span and a value of a histogram."""

    def test_a_sign_in_that_a_call_waits_for(self, recorded: Recorded) -> None:
        """It belongs to the trace of the call, although it runs in a background thread."""
        with FakeFirebase().identity("billing") as identity, trace.get_tracer("test").start_as_current_span("call"):
            identity.token_sync("product", "proof")
        (call,), (sign_in,) = recorded.named("call"), recorded.named("mstoken.sign_in")
        assert call.context is not None
        assert sign_in.parent is not None
        assert sign_in.parent.span_id == call.context.span_id
        assert sign_in.attributes == {
            "mstoken.caller": "svc:billing",
            "mstoken.audience": "product",
            "mstoken.mode": "proof",
            "mstoken.verdict": "accepted",
        }
        (point,) = recorded.points("mstoken.sign_in.duration")
        assert (point.count, dict(point.attributes)) == (1, dict(sign_in.attributes))

    def test_a_sign_in_that_fails(self, recorded: Recorded) -> None:
        """The verdict says whether another attempt may help. The reason, which may quote an answer, is left out."""
        firebase = FakeFirebase()
        firebase.issue("svc:billing", provider="custom")
        firebase.disable("svc:billing")
        with firebase.identity("billing") as identity, pytest.raises(SignInError):
            identity.token_sync("product")
        (span,) = recorded.named("mstoken.sign_in")
        assert span.attributes is not None
        assert span.attributes["mstoken.verdict"] == "refused"
        assert span.attributes["error.type"] == "mstoken.errors.SignInRefused"
        assert span.status.status_code is StatusCode.ERROR
        assert span.events == ()

    async def test_background_work_leaves_the_trace_in_which_it_began(self, recorded: Recorded) -> None:
        """A refresher that a request starts goes on for days. What it does then does not belong to that request."""
        done = asyncio.Event()

        async def refresh() -> float:
            with trace.get_tracer("test").start_as_current_span("refresh"):
                done.set()
            return 3600

        refresher = Refresher(refresh, name="test", log=a_log(), message="")
        with trace.get_tracer("test").start_as_current_span("request"):
            refresher.start()
            await done.wait()
        await refresher.aclose()
        (span,) = recorded.named("refresh")
        assert span.parent is None


class TestGauges:
    """What is read when metrics are exported."""

    def test_the_stock_of_tokens(self, recorded: Recorded) -> None:
        """It is the number of fresh tokens that are ready, for each audience."""
        with FakeFirebase().identity("billing") as identity:
            stock = identity._tokens.get()._fresh_tokens("product")
            for _ in range(2):
                stock.put("token", signed_in_at=time.time(), took_seconds=0.1)
            (point,) = recorded.points("mstoken.token.stock")
        assert dict(point.attributes) == {"mstoken.caller": "svc:billing", "mstoken.audience": "product"}
        assert point.value == 2

    async def test_the_age_of_certificates(self, recorded: Recorded, clock: FakeClock) -> None:
        """It is the time since the last fetch that succeeded. Without certificates there is no value."""
        certificates = CertificateCache(NoCertificates(), clock=clock)
        assert recorded.points("mstoken.certificate.age") == []
        certificates._loaded = SimpleNamespace(public_keys={"key": "pem"})  # type: ignore[assignment] # only its length counts
        certificates._loaded_at = clock()
        clock.advance(90)
        (point,) = recorded.points("mstoken.certificate.age")
        assert point.value == 90

    async def test_the_age_of_identity_status(self, recorded: Recorded, clock: FakeClock) -> None:
        """It is the age of the oldest status that is in use. A cache that is gone is not read."""
        firebase = FakeFirebase()
        firebase.issue("svc:billing", provider="custom")
        cache = StatusCache(firebase, clock=clock)
        await cache.status("svc:billing")
        clock.advance(5)
        (point,) = recorded.points("mstoken.identity_status.age")
        assert point.value == 5
        del cache
        gc.collect()
        assert recorded.points("mstoken.identity_status.age") == []

    async def test_renewals(self, recorded: Recorded, clock: FakeClock) -> None:
        """Renewals that succeed and those that fail are counted separately."""
        outcomes: list[Exception | None] = [None, SignInUnavailable("svc:billing", "down"), None]

        async def sign_in() -> str:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome
            return "token"

        sleep = SkippingSleep(clock, end=clock.now + 2 * RENEWAL_AGE_SECONDS)
        token = BoundToken("product", sign_in, clock=clock, sleep=sleep, jitter=lambda: 0.5)
        outcomes.append(None)
        await token.get()
        await sleep.has_reached_end.wait()
        points = recorded.points("mstoken.token.renewals")
        assert sorted((point.attributes.get("error.type", ""), point.value) for point in points) == [
            ("", 2),
            ("mstoken.errors.SignInUnavailable", 1),
        ]
        assert token._renewal is not None
        await token._renewal.aclose()


class NoCertificates:
    """A source without certificates."""

    async def fetch(self) -> Fetched:
        raise OSError("no certificates")


def a_log() -> logging.Logger:
    return logging.getLogger("test")


class TestOff:
    """Without an SDK nothing is measured."""

    @pytest.mark.parametrize("is_disabled", [False, True])
    async def test_no_attribute_is_built(self, is_disabled: bool) -> None:
        """This holds if nothing is set up, and if the program has set up providers that do nothing."""

        def attributes(_: BaseException | None = None) -> dict[str, str]:
            raise AssertionError("Attributes were built.")

        with not_set_up():
            if is_disabled:
                set_tracer_provider(NoOpTracerProvider())
                set_meter_provider(NoOpMeterProvider())
            with telemetry.measure(telemetry.VERIFICATION, attributes):
                pass
            telemetry.count(telemetry.RENEWALS, attributes)

    @pytest.mark.process
    def test_opentelemetry_is_not_imported(self) -> None:
        """A program that does not import OpenTelemetry pays for no import: the library never imports it by itself."""
        script = """
import asyncio, json, sys
from mstoken import telemetry
from mstoken.caller.process import ProcessTokens
with telemetry.measure(telemetry.SIGN_IN, lambda error: {}):
    telemetry.count(telemetry.RENEWALS, lambda: {})
telemetry.begin_new_trace()
print(json.dumps([name for name in sys.modules if name.startswith("opentelemetry")]))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == []


def test_an_sdk_that_is_set_up_later_is_found() -> None:
    """A verifier may be older than the set-up. Two set-ups in a row, as in tests, do not get mixed up."""
    for _ in range(2):
        with telemetry.measure(telemetry.SIGN_IN, lambda _: {}):
            pass
        with recording() as recorded:
            with telemetry.measure(telemetry.SIGN_IN, lambda _: {"mstoken.audience": "product"}):
                pass
            assert [span.name for span in recorded.spans] == ["mstoken.sign_in"]


def test_only_known_attributes_are_used() -> None:
    """The names of attributes begin with `mstoken.`, but for the one that OpenTelemetry defines."""
    assert {name for name in telemetry.ATTRIBUTES if not name.startswith("mstoken.")} == {"error.type"}


def test_the_page_lists_everything() -> None:
    """docs/telemetry.md has a row for each span, metric and attribute of the library, and no other ones."""
    page = (Path(__file__).parents[2] / "docs/telemetry.md").read_text().partition("\n## The library\n")[2]
    rows = re.findall(r"^\| `([\w.]+)` \|", page.partition("\n## The shop\n")[0], re.MULTILINE)
    metrics = [each.metric for each in (*telemetry.OPERATIONS, *telemetry.COUNTERS, *telemetry.GAUGES)]
    assert sorted(rows) == sorted([*(each.span for each in telemetry.OPERATIONS), *metrics, *telemetry.ATTRIBUTES])
