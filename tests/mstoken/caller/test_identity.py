"""A service identity makes tokens that its callee accepts, in every world that httpx has, and seldom makes one wait."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

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
from tests.mstoken.caller.fakes import DEADLINE_SECONDS, Project, ProjectMinter, claims_of, ids_of

ROOT = Path(__file__).parents[3]
BILLING_ONLY = Admission.of(False, {"billing"})
PRODUCT_URL = "http://product"
RENEWAL = 55 * 60.0
NOBODY_THERE = httpx.ConnectError("nobody there")


@pytest.fixture
def project() -> Iterator[Project]:
    project = Project()
    with project.identity:
        yield project


async def caller_of(firebase: FakeFirebase, *tokens: str, proofs: tuple[str, ...] = ()) -> ServiceCaller:
    """Who the service product takes the bearer of the tokens for, when they come one after the other."""
    verifier = firebase.verifier("product", base_url=PRODUCT_URL)
    for token in tokens:
        caller = await verifier.authorize(BILLING_ONLY, Call("GET", "/products", [token], proofs, []))
    assert isinstance(caller, ServiceCaller)
    return caller


class TestNames:
    """What is wrong with a program is said when it starts."""

    @pytest.mark.parametrize("name", ["Billing!", "", "-", "9", "svc:billing", "b" * 64])
    def test_a_name_that_no_service_can_have(self, project: Project, name: str) -> None:
        """It is refused where it is written, not at the first call."""
        with pytest.raises(ValueError, match="not a service name"):
            project.firebase.identity(name)
        with pytest.raises(ValueError, match="not a service name"):
            project.identity.to(name)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_a_token_for_nobody(self, project: Project, mode: Any) -> None:
        """Nothing is signed in for, and nothing hangs."""
        with pytest.raises(ValueError, match="not a service name"):
            await project.identity.token("Product!", mode)
        with pytest.raises(ValueError, match="not a service name"):
            await asyncio.to_thread(project.identity.token_sync, "Product!", mode)
        assert project.door.asked == 0

    def test_the_uid_is_that_of_the_service(self, project: Project) -> None:
        """It is what Firebase and the callee know it by."""
        assert (project.identity.service, project.identity.uid) == ("billing", "svc:billing")

    def test_a_production_identity_needs_an_api_key(self) -> None:
        """It says so at once."""
        with pytest.raises(SettingsError, match="MSTOKEN_API_KEY"):
            ServiceIdentity("billing", Settings(project_id="real-shop", emulator_host=None, api_key=None))

    def test_an_identity_that_is_not_used_starts_nothing(self, project: Project) -> None:
        """No thread and no connection, so that a program may make it before it forks."""
        before = threading.active_count()
        with project.firebase.identity("user") as identity:
            identity.to("product")
            assert threading.active_count() == before


class TestModes:
    """Fresh tokens, unless the settings or the code say otherwise."""

    @pytest.mark.parametrize(("variable", "mode"), [(None, "fresh"), ("fresh", "fresh"), ("proof", "proof")])
    def test_the_settings_say_the_mode(self, monkeypatch: pytest.MonkeyPatch, variable: str | None, mode: str) -> None:
        """MSTOKEN_MODE, or else `fresh`."""
        monkeypatch.delenv("MSTOKEN_MODE", raising=False)
        if variable is not None:
            monkeypatch.setenv("MSTOKEN_MODE", variable)
        assert FakeFirebase().identity("billing").to("product").mode == mode

    @pytest.mark.parametrize("setting", ["fresh", "proof"])
    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_code_says_otherwise(self, setting: Any, mode: Any) -> None:
        """What stands there counts more than the settings."""
        assert FakeFirebase().identity("billing", mode=setting).to("product", mode).mode == mode

    def test_no_other_mode(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither in code nor in the environment."""
        mode: Any = "Proof"
        with pytest.raises(ValueError, match="is no mode"):
            project.identity.to("product", mode)
        monkeypatch.setenv("MSTOKEN_MODE", "Proof")
        with pytest.raises(SettingsError, match="MSTOKEN_MODE"):
            FakeFirebase().identity("billing")


class TestFresh:
    """A token for one call each."""

    async def test_a_token_is_for_its_audience_and_from_its_service(self, project: Project) -> None:
        """The callee sees who calls, and lets each token in once."""
        token = await project.identity.token("product")
        caller = await caller_of(project.firebase, token)
        assert (caller.service, caller.uid, caller.audience) == ("billing", "svc:billing", "product")
        with pytest.raises(TokenReplayed):
            await caller_of(project.firebase, token, token)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_each_sign_in_is_one_log_line(self, project: Project, caplog: pytest.LogCaptureFixture, mode: Any) -> None:
        """For whom, how long minting and signing in took, and the token's digest, by which callees log it too."""
        caplog.set_level(logging.INFO, "mstoken.tokens")
        token = project.identity.token_sync("product", mode)
        (line,) = (vars(record) for record in caplog.records)
        assert (line["message"], line["audience"], line["mode"]) == ("signed in", "product", mode)
        assert min(line["custom_token_ms"], line["sign_in_ms"]) >= 0
        assert line["token"] == token_sha256(token).hex()[:8]
        assert token not in str(line)

    def test_no_two_calls_have_the_same_token(self) -> None:
        """Over threads, and over event loops that come and go, asked one after the other and all at once."""
        identity = FakeFirebase().identity("billing")

        async def at_once() -> list[str]:
            return await asyncio.gather(*(identity.token("product") for _ in range(20)))

        def in_a_thread(_: int) -> list[str]:
            tokens = []
            for _ in range(5):
                tokens += [identity.token_sync("product") for _ in range(20)]
                tokens += asyncio.run(at_once())
            return tokens

        with identity, ThreadPoolExecutor(4) as threads:
            tokens = [token for some in threads.map(in_a_thread, range(4)) for token in some]
        assert len(tokens) == 800
        assert len(ids_of(tokens)) == 800
        assert None not in ids_of(tokens)

    def test_a_rare_caller_signs_in_once_for_each_call(self, project: Project) -> None:
        """What would grow old in stock is not signed in for."""
        for _ in range(5):
            project.identity.token_sync("product")
            project.clock.advance(31)
        project.door.wait_for_ended(5)
        assert project.door.asked == 5

    def test_calls_after_the_first_few_do_not_wait(self, project: Project) -> None:
        """While nobody can sign in, they have what was signed in for ahead of need."""
        stocked = project.fill_stock()
        project.door.shut()
        tokens = [project.identity.token_sync("product") for _ in range(stocked)]
        assert len(ids_of(tokens)) == stocked

    async def test_calls_of_an_event_loop_find_the_same_stock(self, project: Project) -> None:
        """What a thread's calls ordered serves a task's, and takes no turn of the loop."""
        stocked = await asyncio.to_thread(project.fill_stock)
        project.door.shut()
        for _ in range(stocked):
            with pytest.raises(StopIteration):
                project.identity.token("product").send(None)

    def test_a_steady_rate_never_waits_again(self, project: Project) -> None:
        """Each call takes one from the stock, and has another signed in for."""
        project.fill_stock()
        asked, tokens = project.door.asked, []
        for _ in range(60):
            project.door.shut()
            tokens.append(project.identity.token_sync("product"))
            project.door.wait_for_asked(1)
            project.clock.advance(0.2)
            project.door.open()
            project.door.wait_for_ended(1)
            project.clock.advance(0.8)
        assert len(ids_of(tokens)) == 60
        assert project.door.asked == asked + 60

    def test_each_audience_has_a_stock_of_its_own(self, project: Project) -> None:
        """A token is for one service only."""
        project.fill_stock()
        assert claims_of(project.identity.token_sync("product")).audience == "product"
        assert claims_of(project.identity.token_sync("user")).audience == "user"

    def test_what_waited_too_long_is_not_handed_out(self, project: Project) -> None:
        """After half a minute in stock a token is thrown away."""
        project.fill_stock()
        asked = project.door.asked
        project.clock.advance(29)
        token = project.identity.token_sync("product")
        assert unverified(token).payload["iat"] == int(project.clock())
        assert project.door.asked > asked

    def test_what_was_too_long_on_its_way_is_not_handed_out(self, project: Project) -> None:
        """A token ages from before its sign-in on, however long that takes."""
        project.fill_stock()
        project.door.shut()
        project.identity.token_sync("product")
        project.door.wait_for_asked(1)
        project.clock.advance(30)
        project.door.open()
        project.door.wait_for_ended(1)
        project.door.fault = NOBODY_THERE
        with pytest.raises(SignInUnavailable):
            project.identity.token_sync("product")

    def test_a_call_that_finds_nothing_signs_in_itself(self, project: Project) -> None:
        """It does not wait for what others ordered, nor for the end of a pause."""
        project.door.fault = NOBODY_THERE
        for _ in range(2):
            with pytest.raises(SignInUnavailable):
                project.identity.token_sync("product")
        project.door.wait_for_ended(2 + 3)
        project.door.fault = None
        assert claims_of(project.identity.token_sync("product")).audience == "product"
        assert project.door.asked == 2 + 3 + 1

    def test_a_call_that_gives_up_takes_its_sign_in_along(self, project: Project) -> None:
        """Nobody signs in for nobody."""
        project.door.shut()

        async def give_up() -> None:
            waiting = asyncio.create_task(project.identity.token("product"))
            await asyncio.to_thread(project.door.wait_for_asked, 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(give_up())
        project.door.wait_for_ended(1)
        project.door.open()
        project.identity.token_sync("product")
        assert project.door.asked == 2 + 3

    def test_an_outage_comes_out_of_the_call(self, project: Project) -> None:
        """No call hangs; when Firebase is back, the next one is served."""
        project.fill_stock()
        project.clock.advance(60)
        project.door.fault = NOBODY_THERE
        with pytest.raises(SignInUnavailable, match="svc:billing could not sign in to Firebase"):
            project.identity.token_sync("product")
        with pytest.raises(SignInUnavailable):
            asyncio.run(project.identity.token("product"))
        project.door.fault = None
        assert project.identity.token_sync("product")

    def test_the_log_says_why_there_is_no_stock(self, project: Project, caplog: pytest.LogCaptureFixture) -> None:
        """With the audience and the reason, and without a token."""
        project.door.fault = NOBODY_THERE
        for _ in range(2):
            with pytest.raises(SignInUnavailable):
                project.identity.token_sync("product")
        project.door.wait_for_ended(2 + 3)
        assert {(record.name, record.levelno) for record in caplog.records} == {("mstoken.tokens", logging.WARNING)}
        assert {record.__dict__["audience"] for record in caplog.records} == {"product"}
        assert {record.__dict__["error"] for record in caplog.records} == {
            "Firebase could not be reached (ConnectError)"
        }

    def test_a_defect_does_not_end_the_stocking(self, project: Project, caplog: pytest.LogCaptureFixture) -> None:
        """It comes out of the call and stands in the log with its traceback; a second later the next order tries."""
        project.door.fault = RuntimeError("a defect")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="a defect"):
                project.identity.token_sync("product")
        project.door.wait_for_ended(2 + 3)
        assert {record.levelno for record in caplog.records} == {logging.ERROR}
        assert all(record.exc_info and record.exc_info[0] is RuntimeError for record in caplog.records)
        project.door.fault = None
        project.clock.advance(1)
        project.identity.token_sync("product")
        project.door.wait_for_ended(1 + 1)
        project.identity.token_sync("product")
        project.door.wait_for_ended(4)

    async def test_a_disabled_identity_cannot_sign_in(self) -> None:
        """Firebase's reason is in the error."""
        firebase = FakeFirebase()
        firebase.disable("svc:billing")
        async with firebase.identity("billing") as identity:
            with pytest.raises(SignInRefused, match="USER_DISABLED"):
                await identity.token("product")

    async def test_firebase_down(self) -> None:
        """It is an error of its own, after the retries."""
        firebase = FakeFirebase()
        firebase.down = True
        async with firebase.identity("billing") as identity:
            with pytest.raises(SignInUnavailable):
                await identity.token("product")
        assert firebase.sign_ins == 3


class TestBound:
    """A token for an hour."""

    async def test_a_proof_opens_the_door_once(self, project: Project) -> None:
        """The callee knows the caller by token and proof together, and wants another proof next time."""
        token = await project.identity.token("product", "proof")
        proof = project.identity.proof("GET", f"{PRODUCT_URL}/products?limit=1", token, None)
        caller = await caller_of(project.firebase, token, proofs=(proof,))
        assert (caller.service, caller.uid, caller.mode) == ("billing", "svc:billing", "proof")
        with pytest.raises(ProofReplayed):
            await caller_of(project.firebase, token, token, proofs=(proof,))

    def test_100_000_calls_cost_one_sign_in(self, project: Project) -> None:
        """Over 55 minutes; then one more, which no call waits for."""
        first = project.identity.token_sync("product", "proof")
        seconds_to_renewal = project.sleep.wait()
        for _ in range(100_000):
            assert project.identity.token_sync("product", "proof") is first
            project.clock.advance(RENEWAL / 100_000)
        assert project.door.asked == 1
        assert RENEWAL <= seconds_to_renewal <= RENEWAL + 60
        project.clock.advance(60)
        project.door.shut()
        project.door.wait_for_ended(1)
        project.sleep.wake()
        project.door.wait_for_asked(2)
        assert project.identity.token_sync("product", "proof") is first
        project.door.open()
        project.door.wait_for_ended(1)
        second = project.identity.token_sync("product", "proof")
        assert second != first
        assert claims_of(second).key_thumbprint == claims_of(first).key_thumbprint
        assert project.door.asked == 2

    def test_those_who_wait_share_one_sign_in(self, project: Project) -> None:
        """Threads and event loops alike."""
        project.door.shut()

        async def at_once() -> list[str]:
            return await asyncio.gather(*(project.identity.token("product", "proof") for _ in range(10)))

        def in_a_thread(number: int) -> list[str]:
            return [project.identity.token_sync("product", "proof")] if number % 2 else asyncio.run(at_once())

        with ThreadPoolExecutor(4) as threads:
            waiting = threads.map(in_a_thread, range(4))
            project.door.wait_for_asked(1)
            project.door.open()
            tokens = [token for some in waiting for token in some]
        assert len(tokens) == 22
        assert len(set(tokens)) == 1
        assert project.door.asked == 1

    async def test_there_is_one_for_each_audience(self, project: Project) -> None:
        """All of them bound to the one key of this process."""
        tokens = [await project.identity.token(audience, "proof") for audience in ("product", "user") * 3]
        claims = {claims_of(token) for token in tokens}
        assert {one.audience for one in claims} == {"product", "user"}
        assert len({one.key_thumbprint for one in claims}) == 1
        assert project.door.asked == 2

    async def test_a_refused_token_is_replaced(self, project: Project) -> None:
        """Once the callee has said that it does not count."""
        first = await project.identity.token("product", "proof")
        project.clock.advance(60)
        project.identity.refused("product", first)
        assert await project.identity.token("product", "proof") != first

    async def test_an_outage_of_less_than_the_hour_is_not_seen(self, project: Project) -> None:
        """And a longer one comes out of the call."""
        token = await project.identity.token("product", "proof")
        project.door.fault = NOBODY_THERE
        project.clock.advance(3599)
        assert await project.identity.token("product", "proof") == token
        project.clock.advance(1)
        with pytest.raises(SignInUnavailable):
            await project.identity.token("product", "proof")

    async def test_a_callee_that_wants_nonces_is_given_them(self, project: Project) -> None:
        """It refuses the first call, and neither the second try nor the calls after it."""
        product = Callee(project.firebase.verifier("product", base_url=PRODUCT_URL, nonce_secret="s" * 32))
        auth = project.identity.to("product", "proof")
        async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
            statuses = [(await client.get(f"{PRODUCT_URL}/products")).status_code for _ in range(3)]
        assert statuses == [204, 204, 204]
        assert product.verdicts == ["use_dpop_nonce", "accepted", "accepted", "accepted"]

    async def test_a_token_in_no_mode(self, project: Project) -> None:
        """A slip of the pen does not give a token of another kind."""
        mode: Any = "Proof"
        with pytest.raises(ValueError, match="is no mode"):
            await project.identity.token("product", mode)
        with pytest.raises(ValueError, match="is no mode"):
            project.identity.token_sync("product", mode)

    async def test_a_proof_for_no_url(self, project: Project) -> None:
        """There is nothing to prove."""
        with pytest.raises(ValueError, match="http"):
            project.identity.proof("GET", "product", "token", None)


class Callee:
    """A service that lets Billing in, and refuses as a service does."""

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
    """What was started ends, and may begin anew."""

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_closing_ends_the_thread(self, project: Project, mode: Any) -> None:
        """Nothing goes on, the renewing included."""
        await project.identity.token("product", mode)
        assert "mstoken billing" in {thread.name for thread in threading.enumerate()}
        await project.identity.aclose()
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}

    def test_after_closing_the_next_token_begins_anew(self, project: Project) -> None:
        """With another key, and nothing of the stock that was."""
        project.fill_stock()
        bound = project.identity.token_sync("product", "proof")
        project.identity.close()
        asked = project.door.asked
        assert claims_of(project.identity.token_sync("product")).token_id is not None
        again = project.identity.token_sync("product", "proof")
        assert claims_of(again).key_thumbprint != claims_of(bound).key_thumbprint
        assert project.door.asked == asked + 2

    def test_a_sync_identity_closes(self, project: Project) -> None:
        """`with` closes what `token_sync` opened, and another token may be asked for later."""
        with project.identity as identity:
            first = identity.token_sync("product")
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}
        with identity:
            assert identity.token_sync("product") != first

    async def test_an_async_identity_closes(self, project: Project) -> None:
        """`async with` likewise."""
        async with project.identity as identity:
            await identity.token("product")
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}

    async def test_closing_twice_is_harmless(self, project: Project) -> None:
        """So is closing what was never used."""
        project.identity.close()
        await project.identity.token("product")
        await project.identity.aclose()
        await project.identity.aclose()
        project.identity.close()

    def test_closing_from_many_threads_at_once(self, project: Project) -> None:
        """One of them does it."""
        project.identity.token_sync("product")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: project.identity.close(), range(8)))
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}

    async def test_closing_leaves_the_event_loop_free(self, project: Project) -> None:
        """A transport that takes its time to close can be told to hurry by the same loop."""
        transport = SlowToClose()
        identity = ServiceIdentity(
            "user", project.firebase.settings(), minter=ProjectMinter(project.firebase), transport=transport
        )
        with pytest.raises(SignInUnavailable):
            await identity.token("product")
        closing = asyncio.create_task(identity.aclose())
        assert await asyncio.to_thread(transport.closing.wait, DEADLINE_SECONDS)
        assert not closing.done()
        transport.may_close.set()
        await closing

    def test_orders_that_are_under_way_are_given_up(self, project: Project) -> None:
        """A Firebase that does not answer holds nobody up."""
        project.fill_stock()
        project.door.shut()
        project.identity.token_sync("product")
        project.door.wait_for_asked(1)
        project.identity.close()
        project.door.wait_for_ended(1)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_a_call_that_waits_is_told(self, project: Project, mode: Any) -> None:
        """It gets one of the errors that `token` promises, and not a cancellation that nobody asked for."""
        project.door.shut()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(project.identity.token_sync, "product", mode)
            project.door.wait_for_asked(1)
            project.identity.close()
            assert isinstance(waiting.exception(DEADLINE_SECONDS), SignInUnavailable)

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_a_task_that_waits_is_told(self, project: Project, mode: Any) -> None:
        """It is not cancelled by somebody else's closing."""
        project.door.shut()
        waiting = asyncio.create_task(project.identity.token("product", mode))
        await asyncio.to_thread(project.door.wait_for_asked, 1)
        await project.identity.aclose()
        with pytest.raises(SignInUnavailable):
            await waiting

    def test_a_refusal_that_comes_after_closing_starts_nothing(self, project: Project) -> None:
        """There is no token left that it could be about."""
        token = project.identity.token_sync("product", "proof")
        project.identity.close()
        project.identity.refused("product", token)
        assert "mstoken billing" not in {thread.name for thread in threading.enumerate()}


class SlowToClose(httpx.AsyncBaseTransport):
    """Reaches nobody, and closes when it is told to."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.may_close = threading.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise NOBODY_THERE

    async def aclose(self) -> None:
        self.closing.set()
        await asyncio.to_thread(self.may_close.wait, DEADLINE_SECONDS)


class Recorder:
    """A callee that keeps the requests it is sent."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(204)

    async def caller(self, firebase: FakeFirebase) -> ServiceCaller:
        """Who made the last call."""
        headers = self.requests[-1].headers
        return await caller_of(firebase, headers["X-MS-TOKEN"], proofs=tuple(headers.get_list("DPoP")))


@pytest.mark.parametrize("mode", ["fresh", "proof"])
class TestClients:
    """One argument makes a client a caller."""

    def test_a_sync_client_calls_with_it(self, project: Project, mode: Any) -> None:
        """`httpx.Client` does."""
        product = Recorder()
        auth = project.identity.to("product", mode)
        with httpx.Client(transport=httpx.MockTransport(product), auth=auth) as client:
            client.get(f"{PRODUCT_URL}/products")
        assert asyncio.run(product.caller(project.firebase)).mode == mode

    async def test_an_async_client_calls_with_it(self, project: Project, mode: Any) -> None:
        """And `httpx.AsyncClient` likewise."""
        product = Recorder()
        auth = project.identity.to("product", mode)
        async with httpx.AsyncClient(transport=httpx.MockTransport(product), auth=auth) as client:
            await client.get(f"{PRODUCT_URL}/products")
        assert (await product.caller(project.firebase)).mode == mode


async def test_a_proof_of_another_process_is_worth_nothing(project: Project) -> None:
    """Whoever has the token only cannot call with it."""
    token = await project.identity.token("product", "proof")
    async with project.firebase.identity("billing") as thief:
        proof = thief.proof("GET", f"{PRODUCT_URL}/products", token, None)
    with pytest.raises(ProofInvalid, match="another key"):
        await caller_of(project.firebase, token, proofs=(proof,))
