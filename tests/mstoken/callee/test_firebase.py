"""firebase-admin with certificates from memory, as in production, and the refusals for its errors."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import firebase_admin
import google.auth.exceptions
import pytest
from firebase_admin import auth, exceptions

from mstoken.callee.admin_verification import GivenVerification
from mstoken.callee.callers import Admission, Call
from mstoken.callee.firebase import (
    AdminDirectory,
    AdminFirebase,
    refusal_for,
)
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.verifier import TokenVerifier
from mstoken.emulator.signed_auth import KeyRing, TokenSpec
from mstoken.errors import Refusal, SettingsError, TokenExpired, TokenUntrusted, VerifierUnavailable
from mstoken.settings import Settings
from mstoken.strict_jwt import unverified
from tests.mstoken.production import PROJECT, Issuer, KnownIdentities, service_token, token, write_service_account
from tests.mstoken.test_settings import environment
from tests.silent_server import SilentServer, end_during_a_request


@pytest.fixture(scope="module")
def keys() -> KeyRing:
    """The keys with which Google signs, and whose certificates it publishes."""
    return KeyRing()


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up key file of a service account, which firebase-admin requires."""
    return write_service_account(tmp_path_factory.mktemp("credentials") / "account.json")


@pytest.fixture
async def firebase(keys: KeyRing, credentials: Path, tmp_path: Path) -> AsyncIterator[AdminFirebase]:
    """firebase-admin as in production: without the emulator, with certificates in a file, without a network."""
    path = tmp_path / "certificates.json"
    path.write_text(json.dumps(keys.published()))
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(credentials)):
        firebase = AdminFirebase(Settings(project_id=PROJECT, certificates_file=path))
        await firebase.open()
        yield firebase
        await firebase.aclose()


async def test_firebase_admin_verifies_with_the_certificates_in_memory(firebase: AdminFirebase, keys: KeyRing) -> None:
    """This fails if firebase-admin or google-auth has other functions: see `GivenVerification`."""
    claims = await firebase.verify(unverified(token(keys)), keys.signing.key_id)
    assert claims["uid"] == "svc:billing"
    assert isinstance(firebase._verification, GivenVerification)


async def test_verifying_needs_no_thread(firebase: AdminFirebase, keys: KeyRing) -> None:
    """The coroutine runs to its end without being suspended."""
    before = threading.active_count()
    coroutine = firebase.verify(unverified(token(keys)), keys.signing.key_id)
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    assert end.value.value["sub"] == "svc:billing"
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"exp": 1_700_000_000, "iat": 1_600_000_000}, TokenExpired),
        ({"aud": "demo-other"}, TokenUntrusted),
        ({"aud": [PROJECT]}, TokenUntrusted),
        ({"iss": "https://securetoken.google.com/demo-other"}, TokenUntrusted),
        ({"iss": f"https://session.firebase.google.com/{PROJECT}"}, TokenUntrusted),
        ({"sub": ""}, TokenUntrusted),
        ({"sub": "x" * 129}, TokenUntrusted),
        ({"sub": 7}, TokenUntrusted),
    ],
)
async def test_tokens_that_firebase_admin_refuses(
    firebase: AdminFirebase, keys: KeyRing, changes: dict[str, Any], refusal: type[Refusal]
) -> None:
    """An expired token is distinguished from an untrusted one."""
    with pytest.raises(refusal):
        await firebase.verify(unverified(token(keys, **changes)), keys.signing.key_id)


async def test_a_signature_of_an_unpublished_key_is_refused(firebase: AdminFirebase, keys: KeyRing) -> None:
    """It is refused under the id of a published key and under its own id."""
    payload = json.loads(json.dumps({"aud": PROJECT, "iss": f"https://securetoken.google.com/{PROJECT}", "sub": "x"}))
    now = int(time.time())
    payload |= {"iat": now, "exp": now + 60}
    forged = keys.make(TokenSpec(payload=payload, key="other"))
    with pytest.raises(TokenUntrusted):
        await firebase.verify(unverified(forged), keys.signing.key_id)
    unknown = keys.make(TokenSpec(header={"kid": "unknown"}, payload=payload))
    with pytest.raises(TokenUntrusted):
        await firebase.verify(unverified(unknown), "unknown")


async def test_verifying_stops_if_the_emulators_variable_is_set_later(firebase: AdminFirebase, keys: KeyRing) -> None:
    """From that moment on, firebase-admin does not verify signatures."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"), pytest.raises(SettingsError):
        await firebase.verify(unverified(token(keys)), keys.signing.key_id)


@pytest.mark.parametrize(
    ("project_id", "text"),
    [
        ("no-credentials", "firebase-admin finds no credentials"),
        ("demo-no-credentials", "exists on emulators only, and FIREBASE_AUTH_EMULATOR_HOST is not set"),
    ],
)
async def test_without_credentials_the_process_does_not_start(tmp_path: Path, project_id: str, text: str) -> None:
    """Without the check, looking up identities would fail at the first call."""
    with (
        environment(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "missing.json")),
        pytest.raises(SettingsError, match=text),
    ):
        await AdminFirebase(Settings(project_id=project_id)).open()


@pytest.fixture(scope="module")
def more_keys() -> list[KeyRing]:
    return [KeyRing(), KeyRing()]


@pytest.fixture
def issuers(
    keys: KeyRing, more_keys: list[KeyRing], credentials: Path, tmp_path: Path
) -> Iterator[tuple[Issuer, Issuer]]:
    """Two issuers for one project, which show whose certificates a verifier uses."""
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(credentials)):
        yield Issuer(keys, tmp_path / "one.json"), Issuer(more_keys[0], tmp_path / "other.json")


class TestTwoVerifiersInOneProcess:
    """Two services of one project in one process, in production, where firebase-admin verifies signatures.

    clerk-sdk-python#248 reports what happens if they share certificates: good tokens are refused.
    """

    async def test_each_uses_its_own_certificates(self, issuers: tuple[Issuer, Issuer]) -> None:
        """Whichever was made or opened last, each verifies with the certificates of its own settings only."""
        verifiers = [AdminFirebase(issuer.settings()) for issuer in issuers]
        for firebase in reversed(verifiers):
            await firebase.open()
        for firebase in verifiers:
            trusted = [await issuer.is_trusted(firebase) for issuer in issuers]
            assert trusted == [firebase is verifiers[0], firebase is verifiers[1]]
        for firebase in verifiers:
            await firebase.aclose()

    @pytest.mark.parametrize("first_to_close", [0, 1])
    async def test_one_goes_on_after_the_other_was_closed(
        self, issuers: tuple[Issuer, Issuer], first_to_close: int
    ) -> None:
        """It verifies tokens as before, and so does the other one when it is opened again."""
        verifiers = [AdminFirebase(issuer.settings()) for issuer in issuers]
        for firebase in verifiers:
            await firebase.open()
        await verifiers[first_to_close].aclose()
        stays = 1 - first_to_close
        assert await issuers[stays].is_trusted(verifiers[stays])
        await verifiers[first_to_close].open()
        assert await issuers[first_to_close].is_trusted(verifiers[first_to_close])
        assert await issuers[stays].is_trusted(verifiers[stays])
        for firebase in verifiers:
            await firebase.aclose()

    async def test_one_does_not_feel_that_the_keys_of_the_other_are_rotated(
        self, issuers: tuple[Issuer, Issuer], more_keys: list[KeyRing]
    ) -> None:
        """The other has the new certificates when it is opened next. The first keeps its own."""
        one, other = (AdminFirebase(issuer.settings()) for issuer in issuers)
        await one.open()
        await other.open()
        await other.aclose()
        issuers[1].rotate(more_keys[1])
        await other.open()
        assert await issuers[1].is_trusted(other)
        assert await issuers[0].is_trusted(one)
        assert not await issuers[1].is_trusted(one)
        await one.aclose()
        await other.aclose()

    async def test_an_outage_of_one_does_not_reach_the_other(
        self, issuers: tuple[Issuer, Issuer], tmp_path: Path
    ) -> None:
        """A verifier without certificates answers 503, and the one beside it works."""
        one = AdminFirebase(issuers[0].settings())
        without = AdminFirebase(Settings(project_id=PROJECT, certificates_file=tmp_path / "missing.json"))
        await one.open()
        await without.open()
        with pytest.raises(VerifierUnavailable, match="No certificates"):
            await issuers[0].is_trusted(without)
        assert await issuers[0].is_trusted(one)
        await without.aclose()
        assert await issuers[0].is_trusted(one)
        await one.aclose()

    async def test_the_applications_default_app_keeps_its_own_fetcher(self, issuers: tuple[Issuer, Issuer]) -> None:
        """An application that uses firebase-admin itself finds its default app as it left it."""
        default = firebase_admin.initialize_app(options={"projectId": PROJECT})
        fetcher = auth._get_client(default)._token_verifier.request
        firebase = AdminFirebase(issuers[0].settings())
        await firebase.open()
        assert await issuers[0].is_trusted(firebase)
        await firebase.aclose()
        assert firebase_admin.get_app() is default
        assert auth._get_client(default)._token_verifier.request is fetcher
        firebase_admin.delete_app(default)

    async def test_calls_at_both_services(self, issuers: tuple[Issuer, Issuer]) -> None:
        """A token for one service is accepted there, once, and refused at the other, which accepts its own."""
        product, billing = (
            TokenVerifier(name, settings, replay=MemoryReplayStore(), firebase=KnownIdentities(settings))
            for name, settings in zip(("product", "billing"), [issuer.settings() for issuer in issuers], strict=True)
        )
        async with product, billing:
            for verifier, issuer in ((product, issuers[0]), (billing, issuers[1])):
                good = service_token(issuer.keys, "user", verifier.audience)
                for other in {product, billing} - {verifier}:
                    assert await verdict(other, good) == "token_untrusted"
                assert await verdict(verifier, good) == "accepted"
                assert await verdict(verifier, good) == "token_replayed"


async def verdict(verifier: TokenVerifier, service_token: str) -> str:
    """Return the code of the refusal of a call by User, or "accepted"."""
    call = Call("GET", "/", [service_token], proofs=[], authorizations=[])
    try:
        await verifier.authorize(Admission.of(False, {"user"}), call)
    except Refusal as refusal:
        return refusal.code
    return "accepted"


async def test_a_look_up_while_google_is_down_is_an_outage(firebase: AdminFirebase) -> None:
    """The look-up fails within its time limit."""
    with pytest.raises(VerifierUnavailable):
        await asyncio.wait_for(firebase.look_up(["svc:billing"]), 30)


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    """Google's token server, which does not answer."""
    with SilentServer() as server:
        yield server


@pytest.fixture
def silent_credentials(credentials: Path, silent: SilentServer, tmp_path: Path) -> Path:
    """The key file of a service account that gets its access tokens from the silent server."""
    account = json.loads(credentials.read_text()) | {"token_uri": f"http://127.0.0.1:{silent.port}/token"}
    path = tmp_path / "silent.json"
    path.write_text(json.dumps(account))
    return path


async def test_a_look_up_has_a_deadline(silent: SilentServer, silent_credentials: Path) -> None:
    """If Google never answers, that is an outage, and calls do not wait for it."""
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(silent_credentials)):
        directory = AdminDirectory(Settings(project_id=f"{PROJECT}-silent"), deadline_seconds=0.1)
        with pytest.raises(VerifierUnavailable, match=r"did not answer within 0\.1 s"):
            await directory.look_up(["svc:billing"])
        silent.wait_for_request()


@pytest.mark.process
def test_an_outage_does_not_hold_up_the_end_of_a_callee(
    silent: SilentServer, silent_credentials: Path, tmp_path: Path
) -> None:
    """A verifier is closed, and the process ends, while Google does not answer a look-up.

    Nothing in the program has a time limit, so an end that waits for an answer never comes.
    """
    script = """
        import asyncio, contextlib, sys
        from mstoken import TokenVerifier
        from mstoken.blocking import call_blocking

        async def main():
            async with TokenVerifier("product") as verifier:
                calling = asyncio.create_task(verifier._parts.get().status.status("svc:billing"))
                await call_blocking(sys.stdin.readline)
                calling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await calling
            print("closed")

        asyncio.run(main())
    """
    variables = {
        "GOOGLE_CLOUD_PROJECT": f"{PROJECT}-ending",
        "GOOGLE_APPLICATION_CREDENTIALS": str(silent_credentials),
        "MSTOKEN_CERTIFICATES_FILE": str(tmp_path / "none.json"),
        "MSTOKEN_REPLAY_URL": "memory:",
    }
    ended = end_during_a_request(silent, script, variables)
    assert (ended.returncode, ended.stdout) == (0, "closed\n"), ended.stderr


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (auth.InvalidIdTokenError("x"), TokenUntrusted),
        (auth.ExpiredIdTokenError("x", None), TokenExpired),
        (auth.CertificateFetchError("x", None), VerifierUnavailable),
        (exceptions.UnavailableError("x"), VerifierUnavailable),
        (exceptions.UnknownError("x"), VerifierUnavailable),
        (google.auth.exceptions.MalformedError("x"), TokenUntrusted),
        (google.auth.exceptions.TransportError("x"), VerifierUnavailable),
        (google.auth.exceptions.DefaultCredentialsError("x"), VerifierUnavailable),
    ],
)
def test_each_error_is_either_about_the_token_or_an_outage(error: Exception, refusal: type[Refusal]) -> None:
    """An outage never looks like a bad token, and a bad token never looks like an outage."""
    assert type(refusal_for(error)) is refusal


def test_other_errors_are_raised_as_they_are() -> None:
    """An error of neither library is a defect in the program."""
    with pytest.raises(ZeroDivisionError):
        refusal_for(ZeroDivisionError())
