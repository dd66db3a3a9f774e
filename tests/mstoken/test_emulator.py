"""A token from its minting to its spending, with the Auth emulator."""

import secrets

import pytest
from firebase_admin import auth

from mstoken import ServiceCaller, ServiceIdentity, Settings, TokenVerifier
from mstoken.admin import AdminApp
from mstoken.callee.callers import Admission
from mstoken.callee.firebase import AdminFirebase
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.claims import service_uid
from mstoken.errors import Refusal, SignInRefused, SignInUnavailable, VerifierUnavailable
from tests.mstoken.test_settings import environment
from tests.mstoken.testing.test_fake_firebase import call_with


@pytest.fixture
def service() -> str:
    """The name of a service that no other test disables."""
    return f"test-{secrets.token_hex(6)}"


def verifier(settings: Settings) -> TokenVerifier:
    """Return the verifier of Product, with spent ids in memory."""
    return TokenVerifier("product", settings, replay=MemoryReplayStore())


async def test_a_token_of_the_caller_is_accepted_by_the_callee(auth_emulator: Settings, service: str) -> None:
    """It is accepted once."""
    admission = Admission.of(False, {service})
    async with ServiceIdentity(service, auth_emulator) as identity, verifier(auth_emulator) as product:
        token = await identity.token("product")
        caller = await product.authorize(admission, call_with(token))
        assert isinstance(caller, ServiceCaller)
        assert (caller.service, caller.audience) == (service, "product")
        with pytest.raises(Refusal) as caught:
            await product.authorize(admission, call_with(token))
    assert caught.value.code == "token_replayed"


async def test_synchronous_sign_ins(auth_emulator: Settings, service: str) -> None:
    """Two tokens of the same second differ only in their ids, and both are accepted."""
    async with verifier(auth_emulator) as product:
        with ServiceIdentity(service, auth_emulator) as identity:
            tokens = [identity.token_sync("product") for _ in range(2)]
        for token in tokens:
            await product.authorize(Admission.of(False, {service}), call_with(token))


async def test_a_disabled_service_is_refused(auth_emulator: Settings, service: str) -> None:
    """The callee refuses its token, and it cannot sign in for another one."""
    admin = AdminApp(auth_emulator)
    async with ServiceIdentity(service, auth_emulator) as identity, verifier(auth_emulator) as product:
        token = await identity.token("product")
        auth.update_user(service_uid(service), disabled=True, app=admin.get())
        with pytest.raises(Refusal) as caught:
            await product.authorize(Admission.of(False, {service}), call_with(token))
        assert caught.value.code == "identity_disabled"
        with pytest.raises(SignInRefused, match="USER_DISABLED"):
            await identity.token("product")


async def test_an_emulator_that_does_not_answer_is_an_outage() -> None:
    """Both the caller and the callee report an outage."""
    nobody = "127.0.0.1:9"
    with environment(FIREBASE_AUTH_EMULATOR_HOST=nobody):
        settings = Settings(project_id="demo-nobody", emulator_host=nobody)
        async with ServiceIdentity("billing", settings) as identity:
            with pytest.raises(SignInUnavailable, match="ConnectError"):
                await identity.token("product")
        with pytest.raises(VerifierUnavailable):
            await AdminFirebase(settings).look_up(["svc:billing"])
