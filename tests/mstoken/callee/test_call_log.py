"""Each call is one record in the log `mstoken.calls`, without any token in it."""

import logging
import time
from dataclasses import replace

import pytest

from mstoken import ServiceCaller
from mstoken.callee.call_log import CallRecord
from mstoken.callee.callers import Call
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.errors import TokenMissing, VerifierUnavailable
from tests.mstoken.callee.harness import BILLING_FOR_A_USER, Product, ProductWithProofs, log_name


@pytest.fixture(autouse=True)
def log_level(caplog: pytest.LogCaptureFixture) -> None:
    """Capture the records of accepted calls too."""
    caplog.set_level(logging.INFO, "mstoken.calls")


async def test_a_call_with_a_fresh_token(product: Product, caplog: pytest.LogCaptureFixture) -> None:
    """The record has the caller, the audience, the age and the name of the token, its id, and the verdict."""
    token = product.service_token()
    product.clock.advance(2)
    caller = await product.call(token)
    assert isinstance(caller, ServiceCaller)
    assert await product.code(token) == "token_replayed"
    accepted, refused = (vars(record) for record in caplog.records)
    expected = {
        "event": "call",
        "caller": "svc:billing",
        "audience": "product",
        "mode": "fresh",
        "age_seconds": 2.0,
        "one_time_id": caller.one_time_id,
        "token": log_name(token),
        "verdict": "accepted",
    }
    assert expected.items() <= accepted.items()
    assert (expected | {"verdict": "token_replayed"}).items() <= refused.items()
    assert token not in str(accepted) + str(refused)
    assert caplog.messages == [
        "call svc:billing → product fresh accepted",
        "call svc:billing → product fresh token_replayed",
    ]


async def test_a_call_with_a_proof(bound: ProductWithProofs, caplog: pytest.LogCaptureFixture) -> None:
    """The record has the age of the proof. Neither the token nor the proof is in it."""
    call = bound.call()
    bound.clock.advance(2)
    assert await bound.code(call) == "accepted"
    assert await bound.code(replace(call, path="/other")) == "proof_invalid"
    accepted, refused = (vars(record) for record in caplog.records)
    expected = {"caller": "svc:billing", "audience": "product", "mode": "proof", "verdict": "accepted"}
    assert expected.items() <= accepted.items()
    assert 2 <= accepted["age_seconds"] < 3
    assert {"caller": None, "mode": "proof", "verdict": "proof_invalid"}.items() <= refused.items()
    for record in str(accepted), str(refused):
        assert bound.token not in record
        assert call.proofs[0] not in record


async def test_the_call_of_a_user(product: Product, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the token nor another text in Authorization is in the record."""
    token = product.user_token()
    await product.call(user=f"Bearer {token}")
    await product.code(user="Bearer password-typed-here")
    accepted, refused = (vars(record) for record in caplog.records)
    assert (accepted["caller"], accepted["mode"], accepted["token"]) == ("user:anna", "user", log_name(token))
    assert (refused["caller"], refused["verdict"]) == (None, "user_token_invalid")
    assert token not in str(accepted)
    assert "password-typed-here" not in str(refused)
    assert caplog.messages == [
        "call user:anna → product user accepted",
        "call unknown → product user user_token_invalid",
    ]


async def test_a_service_that_acts_for_a_user(product: Product, caplog: pytest.LogCaptureFixture) -> None:
    """The record names both, the service as the caller."""
    user = f"Bearer {product.user_token()}"
    await product.call(product.service_token(), user=user, admission=BILLING_FOR_A_USER)
    (record,) = map(vars, caplog.records)
    assert (record["caller"], record["user"], record["mode"]) == ("svc:billing", "user:anna", "fresh")
    assert record["message"] == "call svc:billing for user:anna → product fresh accepted"


class BrokenStore(MemoryReplayStore):
    """A replay store that cannot be reached."""

    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        raise VerifierUnavailable("The store is down.")


async def test_a_call_that_cannot_be_verified(product: Product, caplog: pytest.LogCaptureFixture) -> None:
    """The record has the reason, which the answer does not contain. A function has no /readyz to ask instead."""
    product.verifier = product.firebase.verifier("product", replay=BrokenStore())
    assert await product.code(product.service_token()) == "verifier_unavailable"
    assert [vars(record)["reason"] for record in caplog.records] == ["The store is down."]
    assert caplog.messages == ["call svc:billing → product fresh verifier_unavailable: The store is down."]


def test_the_time_that_the_verification_took(caplog: pytest.LogCaptureFixture) -> None:
    """The record has the milliseconds between the first check and the record, for an accepted and a refused call."""
    seconds = iter([10.0, 10.0123456, 20.0, 20.5])
    call = Call("GET", "/products", (), (), ())
    CallRecord("product", call, lambda: next(seconds)).write(0.0)
    CallRecord("product", call, lambda: next(seconds)).write(0.0, TokenMissing())
    assert [vars(record)["verify_ms"] for record in caplog.records] == [12.35, 500.0]


async def test_the_verification_includes_the_spending(product: Product, caplog: pytest.LogCaptureFixture) -> None:
    """What the store of spent ids takes is a part of the time."""
    store = SlowStore()
    product.verifier = product.firebase.verifier("product", replay=store)
    await product.call(product.service_token())
    assert vars(caplog.records[0])["verify_ms"] >= store.took_seconds * 1000


class SlowStore(MemoryReplayStore):
    """A replay store that computes for a moment. It notes how long that took, in seconds."""

    took_seconds = 0.0

    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        began = time.perf_counter()
        sum(range(100_000))
        self.took_seconds = round(time.perf_counter() - began, 5) - 0.00001
        return await super().spend(one_time_id, issued_at=issued_at, expires_at=expires_at)
