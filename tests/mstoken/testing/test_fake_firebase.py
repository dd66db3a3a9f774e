"""The fake Firebase refuses what the real one refuses."""

from dataclasses import replace

import pytest

from mstoken import UserCaller
from mstoken.callee.callers import Admission, Call
from mstoken.errors import Refusal, SignInRefused
from mstoken.per_process import PerProcess
from mstoken.testing import FakeFirebase

BOTH = Admission.of(True, {"billing"})


def call_with(service_token: str) -> Call:
    """Return a call with a fresh service token."""
    return Call("GET", "/products", [service_token], proofs=[], authorizations=[])


async def test_a_changed_token_is_refused() -> None:
    """A token that the fake did not sign is refused, as in production."""
    firebase = FakeFirebase()
    header, payload, signature = firebase.service_headers("billing", to="product")["X-MS-TOKEN"].split(".")
    other = firebase.service_headers("billing", to="user")["X-MS-TOKEN"].split(".")[1]
    assert other != payload
    with pytest.raises(Refusal) as caught:
        await firebase.verifier("product").authorize(BOTH, call_with(f"{header}.{other}.{signature}"))
    assert caught.value.code == "token_untrusted"


async def test_verifiers_of_one_fake_do_not_share_spent_ids() -> None:
    """Each verifier has its own store, unless a test passes one in."""
    firebase = FakeFirebase()
    token = firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    for _ in range(2):
        await firebase.verifier("product").authorize(BOTH, call_with(token))


async def test_the_address_of_a_user_is_not_verified_unless_the_test_says_so() -> None:
    """As in Firebase, where anyone can sign up with any address."""
    firebase = FakeFirebase()
    found = []
    for verified in None, False, True:
        headers = firebase.user_headers("maya", email="maya@example.com", email_verified=verified)
        call = Call("GET", "/products", [], [], [headers["Authorization"]])
        caller = await firebase.verifier("product").authorize(BOTH, call)
        assert isinstance(caller, UserCaller)
        found.append((caller.email, caller.email_verified))
    assert found == [("maya@example.com", False)] * 2 + [("maya@example.com", True)]


async def test_the_custom_token_of_another_project_is_refused() -> None:
    """A service cannot sign in with it."""
    identity = FakeFirebase().identity("billing")
    own, other = (FakeFirebase().identity_parts("billing").get() for _ in range(2))
    identity.replace_parts(PerProcess(lambda: replace(own, minter=other.minter)))
    with pytest.raises(SignInRefused, match="INVALID_CUSTOM_TOKEN"):
        await identity.token("product")
    await identity.aclose()
