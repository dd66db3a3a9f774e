"""The settings of a service identity are read when they are needed."""

import httpx
import pytest
from typing_extensions import override

from mstoken import ServiceIdentity, Settings
from mstoken.aiohttp import AiohttpAuth
from mstoken.caller.parts import IdentityParts
from mstoken.errors import SettingsError
from mstoken.requests import RequestsAuth
from mstoken.testing import FakeFirebase
from tests.mstoken.test_settings import environment

EMULATOR = {"GOOGLE_CLOUD_PROJECT": "demo-shop", "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9100"}


async def no_sleep(_seconds: float) -> None:
    """Return at once."""


def test_making_an_identity_reads_no_settings() -> None:
    """A module may make identities and clients: without an environment, only a call fails."""
    with environment():
        identity = ServiceIdentity("billing")
        client = httpx.Client(auth=identity.to("product"))
        RequestsAuth(identity, "product")
        AiohttpAuth(identity, "product")
        with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
            client.get("http://product/")
        with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
            identity.prepare()
        with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
            _ = identity.to("product").mode


def test_the_default_mode_is_read_later() -> None:
    """The environment at the first use counts, and a mode that a caller names comes first."""
    identity = ServiceIdentity("billing")
    default, named = identity.to("product"), identity.to("product", "fresh")
    with environment(**EMULATOR, MSTOKEN_MODE="proof"):
        assert identity.prepare() is identity
        assert (default.mode, named.mode) == ("proof", "fresh")
    assert default.mode == "proof"


def test_wrong_names_are_found_at_once() -> None:
    """They do not depend on the settings."""
    with environment():
        for make in (
            lambda: ServiceIdentity("Billing!"),
            lambda: ServiceIdentity("billing").to("Product!"),
            lambda: ServiceIdentity("billing").to("product", "slow"),  # type: ignore[arg-type]
        ):
            with pytest.raises(ValueError, match=r"Billing!|Product!|slow"):
                make()


def test_requests_to_an_emulator_pass_no_proxy() -> None:
    """A proxy does not reach this machine."""
    for emulator_host, may_use_proxies in (("127.0.0.1:9100", False), (None, True)):
        settings = Settings(
            project_id="demo-shop",
            emulator_host=emulator_host,
            api_key="k",
            token_service_url="https://t.example/token",
        )
        parts = IdentityParts.of("billing", settings, None, None, lambda: 0.0, no_sleep)
        assert parts.may_use_proxies is may_use_proxies


async def test_replaced_parts() -> None:
    """After a replacement, tokens come from elsewhere, and none of the former stock is used."""
    first, second = FakeFirebase(), FakeFirebase()
    identity = first.identity("billing")
    await identity.token("product")
    former = identity.replace_parts(second.identity_parts("billing"))
    await identity.token("product")
    assert second.sign_ins >= 1
    before = second.sign_ins
    identity.replace_parts(former)
    await identity.token("product")
    assert second.sign_ins == before
    await identity.aclose()


class CalledWhileItCloses(ServiceIdentity):
    """An identity with which another thread calls as soon as it is closed."""

    @override
    def close(self) -> None:
        super().close()
        self.token_sync("product")


def test_a_call_during_the_replacement() -> None:
    """It signs in to the new Firebase, so no tokens of the former one are in stock afterwards."""
    first, second = FakeFirebase(), FakeFirebase()
    identity = CalledWhileItCloses("billing")
    identity.replace_parts(first.identity_parts("billing"))
    first.sign_ins = 0
    identity.replace_parts(second.identity_parts("billing"))
    assert (first.sign_ins, second.sign_ins > 0) == (0, True)
    ServiceIdentity.close(identity)
