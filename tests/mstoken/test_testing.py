"""The fake Firebase is strict where it matters to a test that relies on it."""

import pytest

from mstoken.callee.callers import Admission, Call
from mstoken.errors import Refusal, SignInRefused
from mstoken.testing import FakeFirebase

BOTH = Admission.of(True, {"billing"})


def call_with(service_token: str) -> Call:
    """A call of a service with a fresh token."""
    return Call("GET", "/products", [service_token], proofs=[], authorizations=[])


async def test_what_it_did_not_issue_does_not_pass() -> None:
    """A changed token is refused, as in production."""
    firebase = FakeFirebase()
    header, payload, signature = firebase.service_headers("billing", to="product")["X-MS-TOKEN"].split(".")
    other = firebase.service_headers("billing", to="user")["X-MS-TOKEN"].split(".")[1]
    assert other != payload
    with pytest.raises(Refusal) as caught:
        await firebase.verifier("product").authorize(BOTH, call_with(f"{header}.{other}.{signature}"))
    assert caught.value.code == "token_untrusted"


async def test_verifiers_of_one_fake_do_not_share_spent_ids() -> None:
    """Each service keeps its own store, unless a test hands them one."""
    firebase = FakeFirebase()
    token = firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    for _ in range(2):
        await firebase.verifier("product").authorize(BOTH, call_with(token))


async def test_a_custom_token_that_it_did_not_sign_gets_nothing() -> None:
    """Nobody signs in with another project's custom token."""
    identity = FakeFirebase().identity("billing")
    identity._minter = FakeFirebase().identity("billing")._minter
    with pytest.raises(SignInRefused, match="INVALID_CUSTOM_TOKEN"):
        await identity.token("product")
    await identity.aclose()
