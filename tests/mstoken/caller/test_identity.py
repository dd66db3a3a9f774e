"""A service identity makes tokens that its callee accepts, in every world that httpx has."""

import asyncio
import threading

import httpx
import pytest

from mstoken import ServiceIdentity, Settings
from mstoken.callee.callers import Admission, ServiceCaller
from mstoken.errors import SettingsError, SignInRefused, SignInUnavailable
from mstoken.testing import FakeFirebase

BILLING_ONLY = Admission.of(False, {"billing"})


async def caller_of(firebase: FakeFirebase, token: str) -> ServiceCaller:
    """Who the service product takes the bearer of `token` for."""
    caller = await firebase.verifier("product").authorize(BILLING_ONLY, service_tokens=[token], authorizations=[])
    assert isinstance(caller, ServiceCaller)
    return caller


async def test_a_token_is_for_its_audience_and_from_its_service() -> None:
    """The callee sees who calls."""
    firebase = FakeFirebase()
    async with firebase.identity("billing") as identity:
        caller = await caller_of(firebase, await identity.token("product"))
    assert (caller.service, caller.uid, caller.audience) == ("billing", "svc:billing", "product")


async def test_no_two_tokens_are_alike() -> None:
    """Also where they are asked for at the same time."""
    firebase = FakeFirebase()
    async with firebase.identity("billing") as identity:
        tokens = await asyncio.gather(*(identity.token("product") for _ in range(50)))
    ids = {(await caller_of(firebase, token)).token_id for token in tokens}
    assert len(ids) == 50
    assert firebase.sign_ins == 50


async def test_one_identity_serves_threads_and_event_loops() -> None:
    """Sync and async callers in several threads share it."""
    firebase = FakeFirebase()
    identity = firebase.identity("billing")
    tokens: list[str] = []

    def in_a_thread() -> None:
        tokens.append(identity.token_sync("product"))
        tokens.append(asyncio.run(closing_token()))

    async def closing_token() -> str:
        try:
            return await identity.token("product")
        finally:
            await identity.aclose()

    threads = [threading.Thread(target=in_a_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(set(tokens)) == 8


def test_a_sync_identity_closes() -> None:
    """`with` closes what `token_sync` opened, and another token may be asked for later."""
    identity = FakeFirebase().identity("billing")
    with identity:
        first = identity.token_sync("product")
    with identity:
        assert identity.token_sync("product") != first


async def test_a_disabled_identity_cannot_sign_in() -> None:
    """Firebase's reason is in the error."""
    firebase = FakeFirebase()
    firebase.disable("svc:billing")
    async with firebase.identity("billing") as identity:
        with pytest.raises(SignInRefused, match="USER_DISABLED"):
            await identity.token("product")


async def test_firebase_away() -> None:
    """An outage is an error of its own, after the retries."""
    firebase = FakeFirebase()
    firebase.down = True
    async with firebase.identity("billing") as identity:
        with pytest.raises(SignInUnavailable):
            await identity.token("product")
    assert firebase.sign_ins == 3


async def test_names_are_checked_when_the_program_starts() -> None:
    """A name that no service can have is refused where it is written, not at the first call."""
    firebase = FakeFirebase()
    with pytest.raises(ValueError, match="no service name"):
        firebase.identity("Billing!")
    async with firebase.identity("billing") as identity:
        with pytest.raises(ValueError, match="no service name"):
            identity.to("")


def test_a_production_identity_needs_an_api_key() -> None:
    """It says so at once."""
    with pytest.raises(SettingsError, match="MSTOKEN_API_KEY"):
        ServiceIdentity("billing", Settings(project_id="real-shop", emulator_host=None))


class Recorder:
    """A callee that keeps the tokens it is shown."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tokens.append(request.headers["X-MS-TOKEN"])
        return httpx.Response(204)


def test_a_sync_client_calls_with_it() -> None:
    """One argument makes `httpx.Client` a caller."""
    firebase, product = FakeFirebase(), Recorder()
    with (
        firebase.identity("billing") as identity,
        httpx.Client(transport=httpx.MockTransport(product), auth=identity.to("product")) as client,
    ):
        client.get("http://product/")
    assert asyncio.run(caller_of(firebase, product.tokens[0])).service == "billing"


async def test_an_async_client_calls_with_it() -> None:
    """And `httpx.AsyncClient` likewise."""
    firebase, product = FakeFirebase(), Recorder()
    async with (
        firebase.identity("billing") as identity,
        httpx.AsyncClient(transport=httpx.MockTransport(product), auth=identity.to("product")) as client,
    ):
        await client.get("http://product/")
    assert (await caller_of(firebase, product.tokens[0])).service == "billing"
