"""A request is verified once, and its token is spent once, however many parts of a program ask who is calling."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette

from mstoken import ServiceCaller
from mstoken.asgi import AsgiVerifier
from mstoken.callee.callers import Admission, Call
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.verification import Verification
from mstoken.errors import CallerNotAllowed, ProofMissing, TokenReplayed
from mstoken.fastapi import protect
from mstoken.flask import protect as protect_flask
from mstoken.functions import Callee
from mstoken.starlette import protect as protect_starlette
from mstoken.wsgi import WsgiVerifier
from tests.mstoken.callee.harness import ADMINS, BILLING, BILLING_FOR_A_USER, USERS_AND_BILLING, Product


class SlowStore(MemoryReplayStore):
    """A replay store that waits until `goes_on` before it records an id."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        self.is_asked.set()
        await self.goes_on.wait()
        return await super().spend(one_time_id, issued_at=issued_at, expires_at=expires_at)


BILLING_WITH_PROOF = Admission.of(False, {"billing"}, proof=True)


def call_of(product: Product, *, user: str | None = None, token: str | None = None) -> Call:
    authorizations = [] if user is None else [user]
    return Call("GET", "/products", [token or product.service_token()], [], authorizations)


async def test_all_parts_get_the_caller(product: Product) -> None:
    """The token is spent by the first one: it is not accepted for another request."""
    call = call_of(product)
    verification = Verification(product.verifier, call)
    callers = {await verification.caller(admission) for admission in (BILLING, USERS_AND_BILLING, BILLING)}
    assert [str(caller) for caller in callers] == ["svc:billing"]
    with pytest.raises(TokenReplayed):
        await Verification(product.verifier, call).caller(BILLING)


async def test_parts_that_ask_at_once_wait_for_one_verification(product: Product) -> None:
    """None of them is refused as a replay."""
    store = SlowStore()
    verification = Verification(product.firebase.verifier("product", replay=store), call_of(product))
    asked = [asyncio.create_task(verification.caller(BILLING)) for _ in range(8)]
    await store.is_asked.wait()
    store.goes_on.set()
    assert {str(caller) for caller in await asyncio.gather(*asked)} == {"svc:billing"}


async def test_a_call_that_a_later_part_does_not_admit_spends_nothing(product: Product) -> None:
    """The first part knows what the others will ask for. All parts get the same refusal."""
    call = call_of(product)
    verification = Verification(product.verifier, call)
    for _ in range(2):
        with pytest.raises(CallerNotAllowed):
            await verification.caller(USERS_AND_BILLING, [BILLING, ADMINS])
    with pytest.raises(ProofMissing):
        await Verification(product.verifier, call).caller(BILLING, [BILLING_WITH_PROOF])
    assert str(await Verification(product.verifier, call).caller(BILLING)) == "svc:billing"


async def test_a_part_that_nothing_announced_still_checks_the_caller(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    """The token is spent already, but the call is refused, and the log says so."""
    caplog.set_level(logging.INFO, "mstoken.calls")
    verification = Verification(product.verifier, call_of(product))
    await verification.caller(BILLING)
    with pytest.raises(CallerNotAllowed):
        await verification.caller(ADMINS)
    with pytest.raises(ProofMissing):
        await verification.caller(BILLING_WITH_PROOF)
    verdicts = [vars(record)["verdict"] for record in caplog.records]
    assert verdicts == ["accepted", "caller_not_allowed", "proof_missing"]
    assert {vars(record)["caller"] for record in caplog.records} == {"svc:billing"}


@pytest.mark.parametrize("announced", [True, False])
async def test_only_a_part_that_admits_it_learns_for_whom_a_service_acts(product: Product, announced: bool) -> None:
    """The user is the same whether that part asks first or last."""
    user = f"Bearer {product.user_token()}"
    verification = Verification(product.verifier, call_of(product, user=user))
    alone = await verification.caller(BILLING, [BILLING_FOR_A_USER] if announced else [])
    acting = await verification.caller(BILLING_FOR_A_USER)
    assert isinstance(alone, ServiceCaller)
    assert isinstance(acting, ServiceCaller)
    assert (alone.user, str(acting.user)) == (None, "user:anna")


async def test_a_part_that_is_cancelled_lets_the_next_one_ask_again(product: Product) -> None:
    """What was not verified to its end has no outcome."""
    store = SlowStore()
    verification = Verification(product.firebase.verifier("product", replay=store), call_of(product))
    first = asyncio.create_task(verification.caller(BILLING))
    await store.is_asked.wait()
    first.cancel()
    store.goes_on.set()
    assert str(await verification.caller(BILLING)) == "svc:billing"


async def test_what_is_known(product: Product) -> None:
    """After a part has asked, its caller is known. What another part would see is not, and a refusal never is."""
    verification = Verification(product.verifier, call_of(product))
    assert verification.known_caller(BILLING) is None
    caller = await verification.caller(BILLING)
    assert verification.known_caller(BILLING) == caller
    assert verification.known_caller(USERS_AND_BILLING) is None
    with pytest.raises(CallerNotAllowed):
        await verification.caller(ADMINS)
    assert verification.known_caller(ADMINS) is None


@pytest.mark.parametrize(
    "use",
    [
        lambda name: protect(FastAPI(), name),
        lambda name: protect_starlette(Starlette(), name),
        lambda name: protect_flask(Flask(__name__), name),
        lambda name: Callee(name),
        lambda name: WsgiVerifier(name),
        lambda name: AsgiVerifier(name),
    ],
    ids=["FastAPI", "Starlette", "Flask", "functions", "WSGI", "ASGI"],
)
def test_the_name_of_a_service_is_not_a_verifier(use: Callable[[Any], object]) -> None:
    """Every adapter says so when the app is made, and not at the first call."""
    with pytest.raises(TypeError, match=r"^the verifier must be a TokenVerifier, .* not 'product'$"):
        use("product")
