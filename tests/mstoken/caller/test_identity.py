"""`ServiceIdentity`: tokens that the callee accepts, in threads and event loops, and rarely a call that waits."""

import asyncio
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from mstoken import ServiceIdentity, Settings, TokenVerifier
from mstoken.callee.callers import Admission, Call, ServiceCaller
from mstoken.claims import token_sha256
from mstoken.errors import (
    ProofInvalid,
    ProofReplayed,
    Refusal,
    SettingsError,
    SignInRefused,
    SignInUnavailable,
    TokenReplayed,
)
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase
from mstoken.wire import Mode
from tests.mstoken.caller.fakes import DEADLINE_SECONDS, FakeMinter, Project, claims_of, ids_of

ROOT = Path(__file__).parents[3]
BILLING_ONLY = Admission.of(False, {"billing"})
PRODUCT_URL = "http://product"
RENEWAL = 53 * 60.0
UNREACHABLE = httpx.ConnectError("unreachable")


@pytest.fixture
def project() -> Iterator[Project]:
    project = Project()
    with project.identity:
        yield project


async def caller_of(firebase: FakeFirebase, *tokens: str, proofs: tuple[str, ...] = ()) -> ServiceCaller:
    """Send these tokens to the service product, one after another. Return the caller of the last one."""
    verifier = firebase.verifier("product", base_url=PRODUCT_URL)
    for token in tokens:
        caller = await verifier.authorize(BILLING_ONLY, Call("GET", "/products", [token], proofs, []))
    assert isinstance(caller, ServiceCaller)
    return caller


class TestMaking:
    """Mistakes are reported when a program starts."""

    @pytest.mark.parametrize("name", ["Billing!", "", "-", "9", "svc:billing", "b" * 64])
    def test_an_invalid_name_raises_at_once(self, project: Project, name: str) -> None:
        """A name that a service cannot have is not reported only at the first call."""
        with pytest.raises(ValueError, match="not a service name"):
            project.firebase.identity(name)
        with pytest.raises(ValueError, match="not a service name"):
            project.identity.to(name)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_an_invalid_audience_raises_at_once(self, project: Project, mode: Mode) -> None:
        """There is no sign-in for a name that a service cannot have."""
        with pytest.raises(ValueError, match="not a service name"):
            await project.identity.token("Product!", mode)
        with pytest.raises(ValueError, match="not a service name"):
            await asyncio.to_thread(project.identity.token_sync, "Product!", mode)
        assert project.transport.requests == 0

    def test_the_uid_contains_the_name(self, project: Project) -> None:
        """The uid is the name with the prefix `svc:`."""
        assert (project.identity.service, project.identity.uid) == ("billing", "svc:billing")

    def test_a_production_identity_needs_an_api_key(self) -> None:
        """A missing key is reported when the settings are read."""
        with pytest.raises(SettingsError, match="MSTOKEN_API_KEY"):
            ServiceIdentity("billing", Settings(project_id="real-shop", emulator_host=None, api_key=None)).prepare()

    def test_before_the_first_token_there_is_no_thread(self, project: Project) -> None:
        """A program may make an identity before it forks."""
        before = threading.active_count()
        with project.firebase.identity("user") as identity:
            identity.to("product")
            assert threading.active_count() == before


class TestModes:
    """The mode is `fresh`, unless the settings or the code say `proof`."""

    @pytest.mark.parametrize(("variable", "mode"), [(None, "fresh"), ("fresh", "fresh"), ("proof", "proof")])
    def test_the_mode_in_the_settings(self, monkeypatch: pytest.MonkeyPatch, variable: str | None, mode: str) -> None:
        """MSTOKEN_MODE is the default mode of calls."""
        monkeypatch.delenv("MSTOKEN_MODE", raising=False)
        if variable is not None:
            monkeypatch.setenv("MSTOKEN_MODE", variable)
        assert FakeFirebase().identity("billing").to("product").mode == mode

    @pytest.mark.parametrize("setting", ["fresh", "proof"])
    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_the_mode_in_code(self, setting: Mode, mode: Mode) -> None:
        """The argument of `to` takes precedence over the settings."""
        assert FakeFirebase().identity("billing", mode=setting).to("product", mode).mode == mode

    def test_an_unknown_mode_raises_at_once(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unknown mode is reported both in code and in the environment."""
        mode: Any = "Proof"
        with pytest.raises(ValueError, match="is not a mode"):
            project.identity.to("product", mode)
        monkeypatch.setenv("MSTOKEN_MODE", "Proof")
        with pytest.raises(SettingsError, match="MSTOKEN_MODE"):
            FakeFirebase().identity("billing").prepare()


class TestFresh:
    """The mode `fresh`: a new token for each call."""

    async def test_the_callee_accepts_a_token_once(self, project: Project) -> None:
        """The callee learns from the token which service calls, and refuses the same token the second time."""
        token = await project.identity.token("product")
        caller = await caller_of(project.firebase, token)
        assert (caller.service, caller.uid, caller.audience) == ("billing", "svc:billing", "product")
        with pytest.raises(TokenReplayed):
            await caller_of(project.firebase, token, token)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_each_sign_in_is_logged(self, project: Project, caplog: pytest.LogCaptureFixture, mode: Mode) -> None:
        """The record has the audience, how long minting and signing in took, and the token's name in all logs.

        In fresh mode it has the number of tokens in stock too.
        """
        caplog.set_level(logging.INFO, "mstoken.tokens")
        token = project.identity.token_sync("product", mode)
        (line,) = (vars(record) for record in caplog.records)
        assert (line["event"], line["audience"], line["mode"]) == ("signed in", "product", mode)
        assert re.fullmatch(rf"signed in as svc:billing for product, {mode}, in \d+\.\d ms", line["message"])
        assert min(line["custom_token_ms"], line["sign_in_ms"]) >= 0
        assert line["token"] == token_sha256(token).hex()[:8]
        assert line["in_stock"] == (0 if mode == "fresh" else None)
        assert token not in str(line)

    def test_no_two_calls_have_the_same_token(self) -> None:
        """Each call gets a token of its own, in several threads and event loops, in turn and at the same time."""
        identity = FakeFirebase().identity("billing")

        async def at_the_same_time() -> list[str]:
            return await asyncio.gather(*(identity.token("product") for _ in range(20)))

        def in_a_thread(_: int) -> list[str]:
            tokens = []
            for _ in range(5):
                tokens += [identity.token_sync("product") for _ in range(20)]
                tokens += asyncio.run(at_the_same_time())
            return tokens

        with identity, ThreadPoolExecutor(4) as threads:
            tokens = [token for some in threads.map(in_a_thread, range(4)) for token in some]
        assert len(tokens) == 800
        assert len(ids_of(tokens)) == 800
        assert None not in ids_of(tokens)

    def test_a_rare_caller_signs_in_once_for_each_call(self, project: Project) -> None:
        """Calls more than half a minute apart do not sign in ahead of need."""
        for _ in range(5):
            project.identity.token_sync("product")
            project.clock.advance(31)
        project.transport.wait_for_ends(5)
        assert project.transport.requests == 5

    def test_calls_after_the_first_few_do_not_wait(self, project: Project) -> None:
        """They get tokens from the stock, also while Firebase does not answer."""
        stocked = project.fill_stock()
        project.transport.hold()
        tokens = [project.identity.token_sync("product") for _ in range(stocked)]
        assert len(ids_of(tokens)) == stocked

    async def test_threads_and_event_loops_share_a_stock(self, project: Project) -> None:
        """A task gets a token that was signed in for in a thread, without suspending the task."""
        stocked = await asyncio.to_thread(project.fill_stock)
        project.transport.hold()
        for _ in range(stocked):
            with pytest.raises(StopIteration):
                project.identity.token("product").send(None)

    def test_calls_at_a_steady_rate_do_not_wait(self, project: Project) -> None:
        """Each call gets a token from the stock, and starts the sign-in for another."""
        project.fill_stock()
        before, tokens = project.transport.requests, []
        for _ in range(60):
            project.transport.hold()
            tokens.append(project.identity.token_sync("product"))
            project.transport.wait_for_requests(1)
            project.clock.advance(0.2)
            project.transport.release()
            project.transport.wait_for_ends(1)
            project.clock.advance(0.8)
        assert len(ids_of(tokens)) == 60
        assert project.transport.requests == before + 60

    def test_each_audience_has_a_stock_of_its_own(self, project: Project) -> None:
        """A token in stock for one service is not used for another."""
        project.fill_stock()
        assert claims_of(project.identity.token_sync("product")).audience == "product"
        assert claims_of(project.identity.token_sync("user")).audience == "user"

    async def test_a_token_that_must_be_new_is_not_from_the_stock(self, project: Project) -> None:
        """It is signed in for now, and the stock is left as it is for other calls."""
        stocked = await asyncio.to_thread(project.fill_stock)
        project.clock.advance(10)
        new = await project.identity.token("product", new=True)
        also_new = await asyncio.to_thread(project.identity.token_sync, "product", new=True)
        for token in (new, also_new):
            assert unverified(token).payload["iat"] == int(project.clock())
        project.transport.error = UNREACHABLE
        for _ in range(stocked):
            assert claims_of(await project.identity.token("product")).minted_at <= int(project.clock()) - 10

    @pytest.mark.parametrize(("audience", "is_revoked"), [("product", False), ("user", True)])
    def test_which_refusals_leave_the_stock_as_it_is(self, project: Project, audience: str, is_revoked: bool) -> None:
        """Those of a single token, and those of another callee: a hostile one costs tokens for itself only."""
        stocked = project.fill_stock()
        project.clock.advance(1)
        token = project.identity.token_sync(audience, new=True)
        assert project.identity.refused(audience, "fresh", token, is_revoked=is_revoked)
        project.transport.error = UNREACHABLE
        assert len(ids_of([project.identity.token_sync("product") for _ in range(stocked)])) == stocked

    async def test_in_proof_mode_a_new_token_is_the_bound_one(self, project: Project) -> None:
        """There is one sign-in an hour. An unknown mode is reported."""
        token = await project.identity.token("product", "proof")
        assert await project.identity.token("product", "proof", new=True) == token
        mode: Any = "Proof"
        with pytest.raises(ValueError, match="is not a mode"):
            await project.identity.token("product", mode, new=True)

    def test_an_old_token_in_stock_is_not_used(self, project: Project) -> None:
        """A token is dropped half a minute after its sign-in."""
        project.fill_stock()
        before = project.transport.requests
        project.clock.advance(29)
        token = project.identity.token_sync("product")
        assert unverified(token).payload["iat"] == int(project.clock())
        assert project.transport.requests > before

    def test_a_token_of_a_slow_sign_in_is_not_used(self, project: Project) -> None:
        """The age of a token counts from before its sign-in."""
        project.fill_stock()
        project.transport.hold()
        project.identity.token_sync("product")
        project.transport.wait_for_requests(1)
        project.clock.advance(30)
        project.transport.release()
        project.transport.wait_for_ends(1)
        project.transport.error = UNREACHABLE
        with pytest.raises(SignInUnavailable):
            project.identity.token_sync("product")

    def test_a_call_without_a_token_in_stock_signs_in_itself(self, project: Project) -> None:
        """It does not wait for the sign-ins ahead of need, nor for the end of their pause."""
        project.transport.error = UNREACHABLE
        for _ in range(2):
            with pytest.raises(SignInUnavailable):
                project.identity.token_sync("product")
        project.transport.wait_for_ends(2 + 3)
        project.transport.error = None
        assert claims_of(project.identity.token_sync("product")).audience == "product"
        assert project.transport.requests == 2 + 3 + 1

    def test_cancelling_a_call_cancels_its_sign_in(self, project: Project) -> None:
        """A sign-in for which no call waits any more does not go on."""
        project.transport.hold()

        async def cancel() -> None:
            waiting = asyncio.create_task(project.identity.token("product"))
            await asyncio.to_thread(project.transport.wait_for_requests, 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(cancel())
        project.transport.wait_for_ends(1)
        project.transport.release()
        project.identity.token_sync("product")
        assert project.transport.requests == 2 + 3

    def test_an_outage(self, project: Project) -> None:
        """A call raises the error and does not hang. When Firebase is back, the next call succeeds."""
        project.fill_stock()
        project.clock.advance(60)
        project.transport.error = UNREACHABLE
        with pytest.raises(SignInUnavailable, match="svc:billing could not sign in to Firebase"):
            project.identity.token_sync("product")
        with pytest.raises(SignInUnavailable):
            asyncio.run(project.identity.token("product"))
        project.transport.error = None
        assert project.identity.token_sync("product")

    def test_failures_ahead_of_need_are_logged(self, project: Project, caplog: pytest.LogCaptureFixture) -> None:
        """The record has the audience and the reason."""
        project.transport.error = UNREACHABLE
        for _ in range(2):
            with pytest.raises(SignInUnavailable):
                project.identity.token_sync("product")
        project.transport.wait_for_ends(2 + 3)
        assert {(record.name, record.levelno) for record in caplog.records} == {("mstoken.tokens", logging.WARNING)}
        assert {record.__dict__["audience"] for record in caplog.records} == {"product"}
        reason = "Firebase could not be reached at identitytoolkit.googleapis.com (ConnectError)"
        assert {record.__dict__["error"] for record in caplog.records} == {reason}
        assert set(caplog.messages) == {f"no token ahead of need for product: {reason}"}

    def test_a_defect_does_not_end_the_stocking(self, project: Project, caplog: pytest.LogCaptureFixture) -> None:
        """The call raises the exception, which is also logged with its traceback. A second later, stocking goes on."""
        project.transport.error = RuntimeError("a defect")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="a defect"):
                project.identity.token_sync("product")
        project.transport.wait_for_ends(2 + 3)
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        assert all(record.exc_info and record.exc_info[0] is RuntimeError for record in caplog.records)
        project.transport.error = None
        project.clock.advance(1)
        project.identity.token_sync("product")
        project.transport.wait_for_ends(1 + 1)
        project.identity.token_sync("product")
        project.transport.wait_for_ends(4)

    async def test_a_disabled_identity_cannot_sign_in(self) -> None:
        """The error contains Firebase's code."""
        firebase = FakeFirebase()
        firebase.disable("svc:billing")
        async with firebase.identity("billing") as identity:
            with pytest.raises(SignInRefused, match="USER_DISABLED"):
                await identity.token("product")

    async def test_firebase_down(self) -> None:
        """After three attempts, the call raises `SignInUnavailable`."""
        firebase = FakeFirebase()
        firebase.down = True
        async with firebase.identity("billing") as identity:
            with pytest.raises(SignInUnavailable):
                await identity.token("product")
        assert firebase.sign_ins == 3


class TestBound:
    """The mode `proof`: one token an hour, bound to the key of this process."""

    async def test_the_callee_accepts_a_proof_once(self, project: Project) -> None:
        """The callee learns from token and proof which service calls, and refuses the same proof the second time."""
        token = await project.identity.token("product", "proof")
        proof = project.identity.proof("GET", f"{PRODUCT_URL}/products?limit=1", token, None)
        caller = await caller_of(project.firebase, token, proofs=(proof,))
        assert (caller.service, caller.uid, caller.mode) == ("billing", "svc:billing", "proof")
        with pytest.raises(ProofReplayed):
            await caller_of(project.firebase, token, token, proofs=(proof,))

    def test_100_000_calls_need_one_sign_in(self, project: Project) -> None:
        """The token is used for 53 minutes, and then renewed while calls still use it."""
        first = project.identity.token_sync("product", "proof")
        seconds_to_renewal = project.sleep.wait()
        for _ in range(100_000):
            assert project.identity.token_sync("product", "proof") is first
            project.clock.advance(RENEWAL / 100_000)
        assert project.transport.requests == 1
        assert RENEWAL <= seconds_to_renewal <= RENEWAL + 60
        project.clock.advance(60)
        project.transport.hold()
        project.transport.wait_for_ends(1)
        project.sleep.wake()
        project.transport.wait_for_requests(2)
        assert project.identity.token_sync("product", "proof") is first
        project.transport.release()
        project.transport.wait_for_ends(1)
        second = project.identity.token_sync("product", "proof")
        assert second != first
        assert claims_of(second).key_thumbprint == claims_of(first).key_thumbprint
        assert project.transport.requests == 2

    def test_all_who_wait_share_one_sign_in(self, project: Project) -> None:
        """Calls in several threads and event loops wait for the same sign-in."""
        project.transport.hold()

        async def at_the_same_time() -> list[str]:
            return await asyncio.gather(*(project.identity.token("product", "proof") for _ in range(10)))

        def in_a_thread(number: int) -> list[str]:
            if number % 2:
                return [project.identity.token_sync("product", "proof")]
            return asyncio.run(at_the_same_time())

        with ThreadPoolExecutor(4) as threads:
            waiting = threads.map(in_a_thread, range(4))
            project.transport.wait_for_requests(1)
            project.transport.release()
            tokens = [token for some in waiting for token in some]
        assert len(tokens) == 22
        assert len(set(tokens)) == 1
        assert project.transport.requests == 1

    async def test_there_is_one_token_for_each_audience(self, project: Project) -> None:
        """All tokens are bound to the one key of this process."""
        tokens = [await project.identity.token(audience, "proof") for audience in ("product", "user") * 3]
        claims = [claims_of(token) for token in tokens]
        assert [found.audience for found in claims] == ["product", "user"] * 3
        assert len({found.key_thumbprint for found in claims}) == 1
        assert project.transport.requests == 2

    async def test_a_refused_token_is_replaced(self, project: Project) -> None:
        """After the callee has refused it, the next call signs in. The tokens for others stay."""
        first = await project.identity.token("product", "proof")
        other = await project.identity.token("user", "proof")
        project.clock.advance(60)
        assert project.identity.refused("product", "proof", first, is_revoked=False)
        assert project.identity.refused("delivery", "proof", first, is_revoked=False)
        assert await project.identity.token("product", "proof") != first
        assert await project.identity.token("user", "proof") == other

    async def test_an_outage_while_the_token_is_valid(self, project: Project) -> None:
        """Calls get the token until it expires. Only then do they raise the error."""
        token = await project.identity.token("product", "proof")
        project.transport.error = UNREACHABLE
        project.clock.advance(3599)
        assert await project.identity.token("product", "proof") == token
        project.clock.advance(1)
        with pytest.raises(SignInUnavailable):
            await project.identity.token("product", "proof")

    async def test_a_callee_that_requires_nonces(self, project: Project) -> None:
        """It refuses only the first request. The retry and the later calls have its nonce."""
        product = Callee(project.firebase.verifier("product", base_url=PRODUCT_URL, nonce_secret="s" * 32))
        auth = project.identity.to("product", "proof")
        async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
            statuses = [(await client.get(f"{PRODUCT_URL}/products")).status_code for _ in range(3)]
        assert statuses == [204, 204, 204]
        assert product.verdicts == ["use_dpop_nonce", "accepted", "accepted", "accepted"]

    async def test_an_unknown_mode(self, project: Project) -> None:
        """A misspelt mode does not silently give a token of another mode."""
        mode: Any = "Proof"
        with pytest.raises(ValueError, match="is not a mode"):
            await project.identity.token("product", mode)
        with pytest.raises(ValueError, match="is not a mode"):
            project.identity.token_sync("product", mode)

    async def test_a_proof_needs_an_http_url(self, project: Project) -> None:
        """A proof for anything else raises ValueError."""
        with pytest.raises(ValueError, match="http"):
            project.identity.proof("GET", "product", "token", None)


class TestRevoked:
    """Billing was disabled and enabled again. Its older tokens are worth nothing, and its calls work at once."""

    @staticmethod
    async def have_tokens(project: Project, mode: Mode) -> None:
        if mode == "fresh":
            await asyncio.to_thread(project.fill_stock)
        await project.identity.token("product", "proof")

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_only_one_request_is_refused(self, project: Project, mode: Mode) -> None:
        """The tokens from before are thrown away after the first refusal, and the call is sent again with a new one."""
        product = Callee(project.firebase.verifier("product", base_url=PRODUCT_URL))
        auth = project.identity.to("product", mode)
        await self.have_tokens(project, mode)
        project.firebase.enable("svc:billing")
        project.clock.advance(11)
        async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
            statuses = [(await client.get(f"{PRODUCT_URL}/products")).status_code for _ in range(3)]
        assert statuses == [204, 204, 204]
        assert product.verdicts == ["identity_disabled", "accepted", "accepted", "accepted"]

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_calls_at_the_same_time(self, project: Project, mode: Mode) -> None:
        """Each of them is refused once at most, also those whose tokens were in use when the first one was refused."""
        product = Callee(project.firebase.verifier("product", base_url=PRODUCT_URL))
        auth = project.identity.to("product", mode)
        await self.have_tokens(project, mode)
        project.firebase.enable("svc:billing")
        project.clock.advance(11)
        async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
            answers = await asyncio.gather(*(client.get(f"{PRODUCT_URL}/products") for _ in range(3)))
        assert [answer.status_code for answer in answers] == [204, 204, 204]

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_a_callee_that_does_not_know_yet(self, project: Project, mode: Mode) -> None:
        """It refuses new tokens too, for ten seconds. Only the first call is sent twice, so sign-ins stay few."""
        product = Callee(project.firebase.verifier("product", base_url=PRODUCT_URL))
        auth = project.identity.to("product", mode)
        await self.have_tokens(project, mode)
        project.clock.advance(11)
        project.firebase.disable("svc:billing")
        async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
            statuses = [(await client.get(f"{PRODUCT_URL}/products")).status_code for _ in range(3)]
        assert statuses == [401, 401, 401]
        assert product.verdicts == ["identity_disabled"] * 4


class Callee:
    """A service that Billing may call. It keeps its verdicts, and answers refusals as a service does."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self.verdicts: list[str] = []
        self._verifier = verifier

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        tokens, proofs = request.headers.get_list("X-MS-TOKEN"), request.headers.get_list("DPoP")
        try:
            await self._verifier.authorize(BILLING_ONLY, Call(request.method, request.url.path, tokens, proofs, []))
        except Refusal as refusal:
            self.verdicts.append(refusal.code)
            challenges = [("WWW-Authenticate", challenge) for challenge in refusal.challenges("product")]
            return httpx.Response(refusal.status, headers=[*challenges, *refusal.headers().items()])
        self.verdicts.append("accepted")
        return httpx.Response(204)


class TestClosing:
    """Closing ends the background work. The next token begins it anew."""

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_closing_ends_the_thread(self, project: Project, mode: Mode) -> None:
        """The background thread has ended when `aclose` returns, and so has the renewal in it."""
        await project.identity.token("product", mode)
        assert "mstoken billing" in {thread.name for thread in threading.enumerate()}
        await project.identity.aclose()
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}

    def test_after_closing_the_next_token_is_a_new_one(self, project: Project) -> None:
        """The old stock and the old key are not used any more."""
        project.fill_stock()
        bound = project.identity.token_sync("product", "proof")
        project.identity.close()
        before = project.transport.requests
        assert claims_of(project.identity.token_sync("product")).token_id is not None
        again = project.identity.token_sync("product", "proof")
        assert claims_of(again).key_thumbprint != claims_of(bound).key_thumbprint
        assert project.transport.requests == before + 2

    def test_with_closes_an_identity(self, project: Project) -> None:
        """After `with`, the thread has ended, and the identity can be used again."""
        with project.identity as identity:
            first = identity.token_sync("product")
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}
        with identity:
            assert identity.token_sync("product") != first

    async def test_async_with_closes_an_identity(self, project: Project) -> None:
        """After `async with`, the thread has ended."""
        async with project.identity as identity:
            await identity.token("product")
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}

    async def test_closing_twice(self, project: Project) -> None:
        """A second close does nothing, and neither does the close of an identity that was not used."""
        project.identity.close()
        await project.identity.token("product")
        await project.identity.aclose()
        await project.identity.aclose()
        project.identity.close()

    def test_closing_from_several_threads(self, project: Project) -> None:
        """One of the threads closes the identity, and the others do nothing."""
        project.identity.token_sync("product")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: project.identity.close(), range(8)))
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}

    async def test_aclose_does_not_block_the_event_loop(self, project: Project) -> None:
        """While a transport takes long to close, the event loop does other work."""
        transport = SlowToClose()
        identity = ServiceIdentity(
            "user", project.firebase.settings(), minter=FakeMinter(project.firebase), transport=transport
        )
        with pytest.raises(SignInUnavailable):
            await identity.token("product")
        closing = asyncio.create_task(identity.aclose())
        assert await asyncio.to_thread(transport.closing.wait, DEADLINE_SECONDS)
        assert not closing.done()
        transport.may_close.set()
        await closing

    def test_closing_cancels_sign_ins_ahead_of_need(self, project: Project) -> None:
        """Closing does not wait for a Firebase that does not answer."""
        project.fill_stock()
        project.transport.hold()
        project.identity.token_sync("product")
        project.transport.wait_for_requests(1)
        project.identity.close()
        project.transport.wait_for_ends(1)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_closing_while_a_thread_waits(self, project: Project, mode: Mode) -> None:
        """The waiting call raises `SignInUnavailable`, not a cancellation."""
        project.transport.hold()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(project.identity.token_sync, "product", mode)
            project.transport.wait_for_requests(1)
            project.identity.close()
            assert isinstance(waiting.exception(DEADLINE_SECONDS), SignInUnavailable)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_closing_while_a_task_waits(self, project: Project, mode: Mode) -> None:
        """The waiting task raises `SignInUnavailable`, and is not cancelled."""
        project.transport.hold()
        waiting = asyncio.create_task(project.identity.token("product", mode))
        await asyncio.to_thread(project.transport.wait_for_requests, 1)
        await project.identity.aclose()
        with pytest.raises(SignInUnavailable):
            await waiting

    def test_a_refusal_after_closing_does_nothing(self, project: Project) -> None:
        """A refusal does not start the background thread."""
        token = project.identity.token_sync("product", "proof")
        project.identity.close()
        assert project.identity.refused("product", "proof", token, is_revoked=True)
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}


class SlowToClose(httpx.AsyncBaseTransport):
    """A transport that reaches no server, and takes as long to close as the test says."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.may_close = threading.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise UNREACHABLE

    async def aclose(self) -> None:
        self.closing.set()
        await asyncio.to_thread(self.may_close.wait, DEADLINE_SECONDS)


class Recorder:
    """A callee that keeps its requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(204)

    async def caller(self, firebase: FakeFirebase) -> ServiceCaller:
        """Return the caller of the last request."""
        headers = self.requests[-1].headers
        return await caller_of(firebase, headers["X-MS-TOKEN"], proofs=tuple(headers.get_list("DPoP")))


@pytest.mark.parametrize("mode", ["fresh", "proof"])
class TestClients:
    """The clients of httpx take `identity.to(...)` as `auth`."""

    def test_a_sync_client(self, project: Project, mode: Mode) -> None:
        """The callee accepts a request of `httpx.Client`."""
        product = Recorder()
        auth = project.identity.to("product", mode)
        with httpx.Client(transport=httpx.MockTransport(product), auth=auth) as client:
            client.get(f"{PRODUCT_URL}/products")
        assert asyncio.run(product.caller(project.firebase)).mode == mode

    async def test_an_async_client(self, project: Project, mode: Mode) -> None:
        """The callee accepts a request of `httpx.AsyncClient`."""
        product = Recorder()
        auth = project.identity.to("product", mode)
        async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
            await client.get(f"{PRODUCT_URL}/products")
        assert (await product.caller(project.firebase)).mode == mode


@pytest.mark.parametrize("mode", ["fresh", "proof"])
class TestTrio:
    """An event loop of trio."""

    def test_an_async_client(self, project: Project, mode: Mode) -> None:
        """The callee accepts a request of `httpx.AsyncClient`, also if asyncio has used the identity before."""
        product = Recorder()
        asyncio.run(project.identity.token("product", mode))

        async def call() -> None:
            auth = project.identity.to("product", mode)
            async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
                await client.get(f"{PRODUCT_URL}/products")
            await project.identity.aclose()

        trio.run(call)
        assert asyncio.run(product.caller(project.firebase)).mode == mode

    def test_a_failed_sign_in(self, project: Project, mode: Mode) -> None:
        """The error is that of asyncio too."""
        project.transport.error = UNREACHABLE
        with pytest.raises(SignInUnavailable):
            trio.run(project.identity.token, "product", mode)

    def test_cancelling_a_call(self, project: Project, mode: Mode) -> None:
        """A fresh sign-in for which no call waits any more does not go on."""
        project.transport.hold()

        async def cancel() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(project.identity.token, "product", mode)
                await trio.to_thread.run_sync(project.transport.wait_for_requests, 1)
                nursery.cancel_scope.cancel()

        trio.run(cancel)
        if mode == "fresh":
            project.transport.wait_for_ends(1)

    def test_closing_while_a_task_waits(self, project: Project, mode: Mode) -> None:
        """The waiting task raises `SignInUnavailable`, and is not cancelled."""
        project.transport.hold()

        async def wait() -> None:
            with pytest.raises(SignInUnavailable, match="the identity was closed"):
                await project.identity.token("product", mode)

        async def close() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.to_thread.run_sync(project.transport.wait_for_requests, 1)
                await project.identity.aclose()

        trio.run(close)


def test_another_kind_of_event_loop_is_refused_at_once(project: Project) -> None:
    """The error names the event loops that work, and what else there is. No sign-in goes on."""
    project.transport.hold()
    with pytest.raises(RuntimeError, match=r"Use asyncio or trio, or the sync methods"):
        project.identity.token("product").send(None)  # as the loop of another library begins a coroutine
    project.identity.close()
    assert project.transport.requests <= 1


async def test_a_stolen_token_is_worth_nothing_without_the_key(project: Project) -> None:
    """The callee refuses a bound token with a proof by the key of another process."""
    token = await project.identity.token("product", "proof")
    async with project.firebase.identity("billing") as thief:
        proof = thief.proof("GET", f"{PRODUCT_URL}/products", token, None)
    with pytest.raises(ProofInvalid, match="another key"):
        await caller_of(project.firebase, token, proofs=(proof,))
