"""The rules of a call, without an HTTP client. `test_auth` has the rules of when a call is sent again."""

import pytest

from mstoken.caller.calls import Answer, ServiceCalls
from mstoken.errors import CallNotRepeatable
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock

URL = "https://product.example/products"


def answer(status: int, *, is_repeatable: bool = True, **fields: list[str]) -> Answer:
    """Return an answer with these lines of header fields."""
    return Answer(status, lambda name: fields.get(name.lower().replace("-", "_"), []), is_repeatable)


STALE = answer(401, www_authenticate=["MsToken error=token_stale"])


@pytest.fixture
def calls() -> ServiceCalls:
    return ServiceCalls(FakeFirebase(clock=FakeClock()).token_source("billing"), "product", "proof")


async def test_a_call_ends_with_an_answer_that_is_final(calls: ServiceCalls) -> None:
    """After it there are no headers to send. Both worlds have the same rules."""
    call = calls.begin("GET", URL)
    assert set(await call.start()) == {"X-MS-TOKEN", "DPoP"}
    assert await call.answered(answer(200)) is None
    call = calls.begin("GET", URL)
    assert set(call.start_sync()) == {"X-MS-TOKEN", "DPoP"}
    assert call.answered_sync(answer(200)) is None


async def test_a_call_has_two_requests_at_most(calls: ServiceCalls) -> None:
    """The answer to the second request is final, whatever it is."""
    call = calls.begin("GET", URL)
    first = await call.start()
    second = await call.answered(STALE)
    assert second is not None
    assert second["DPoP"] != first["DPoP"]
    assert await call.answered(STALE) is None


def test_a_call_that_cannot_be_repeated(calls: ServiceCalls) -> None:
    """The error names the callee and its refusal."""
    call = calls.begin("POST", URL)
    call.start_sync()
    with pytest.raises(CallNotRepeatable, match=r"product refused the call \(token_stale\) and did nothing"):
        call.answered_sync(answer(401, is_repeatable=False, www_authenticate=["MsToken error=token_stale"]))


def test_an_answer_that_is_final_needs_no_second_request(calls: ServiceCalls) -> None:
    """A body that cannot be sent twice is no reason to fail if it need not be."""
    call = calls.begin("POST", URL)
    call.start_sync()
    final = answer(401, is_repeatable=False, www_authenticate=["MsToken error=token_malformed"])
    assert call.answered_sync(final) is None
