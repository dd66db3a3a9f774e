"""The status cache looks up seldom, all identities at once, and uses the last known status during an outage."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence

import pytest

from mstoken.callee.firebase import AdminDirectory, IdentityDirectory, IdentityStatus
from mstoken.callee.status import MAX_IDENTITIES, StatusCache
from mstoken.errors import VerifierUnavailable
from mstoken.settings import Settings
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock, ManualSleep
from tests.elsewhere import in_own_loop
from tests.mstoken.test_settings import environment
from tests.silent_server import SilentServer

DAY_SECONDS = 86_400
LONG_SECONDS = 30.0
"""Longer than any wait, also on a machine under load."""


class GatedFirebase(FakeFirebase):
    """Answers look-ups only while `gate` is open, and records the uids of each look-up."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[set[str]] = []
        self.was_asked = asyncio.Event()

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        self.asked.append(set(uids))
        self.was_asked.set()
        answer = await super().look_up(uids)
        await self.gate.wait()
        return answer


def known(firebase: FakeFirebase, *uids: str) -> None:
    """Create identities."""
    for uid in uids:
        firebase.issue(uid, provider="custom")


@pytest.fixture
def firebase() -> GatedFirebase:
    return GatedFirebase()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(firebase: GatedFirebase, clock: FakeClock) -> StatusCache:
    """A cache without background work."""
    return StatusCache(firebase, clock=clock)


async def test_a_status_is_used_for_ten_seconds(firebase: GatedFirebase, clock: FakeClock, cache: StatusCache) -> None:
    """An identity is looked up at most once in 10 s."""
    known(firebase, "svc:billing")
    for _ in range(5):
        assert await cache.is_alive("svc:billing", 0)
    assert firebase.look_ups == 1
    clock.advance(10)
    await cache.is_alive("svc:billing", 0)
    assert firebase.look_ups == 2


async def test_a_disabled_identity_is_noticed_within_ten_seconds(
    firebase: GatedFirebase, clock: FakeClock, cache: StatusCache
) -> None:
    """A status older than 10 s is looked up again."""
    known(firebase, "svc:billing")
    assert await cache.is_alive("svc:billing", 0)
    firebase.disable("svc:billing")
    clock.advance(10)
    assert not await cache.is_alive("svc:billing", 0)


async def test_a_forgotten_identity_is_looked_up_at_its_next_call(firebase: GatedFirebase, cache: StatusCache) -> None:
    """A log-out through this service takes effect in this service at once."""
    known(firebase, "u")
    assert await cache.is_alive("u", 0)
    firebase.revoke("u")
    assert await cache.is_alive("u", 0)
    cache.forget("u")
    cache.forget("never seen")
    assert not await cache.is_alive("u", 0)


async def test_a_look_up_from_before_a_log_out_is_ignored(firebase: GatedFirebase, cache: StatusCache) -> None:
    """If an identity is forgotten during its look-up, it is looked up once more."""
    known(firebase, "u")
    firebase.gate.clear()
    asking = asyncio.create_task(cache.is_alive("u", 0))
    await firebase.was_asked.wait()
    firebase.revoke("u")
    cache.forget("u")
    firebase.gate.set()
    assert not await asking


class SlowFirstAnswer(GatedFirebase):
    """Waits for `gate` before its first answer only. Other event loops get theirs at once."""

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        answer = await FakeFirebase.look_up(self, uids)
        if self.look_ups == 1:
            self.was_asked.set()
            await self.gate.wait()
        return answer


async def test_an_older_answer_does_not_replace_a_newer_one(clock: FakeClock) -> None:
    """If the look-ups of two event loops overtake each other, the status is that of the one that began last."""
    firebase = SlowFirstAnswer()
    known(firebase, "svc:billing")
    cache = StatusCache(firebase, clock=clock)
    firebase.gate.clear()
    asking = asyncio.create_task(cache.is_alive("svc:billing", 0))
    await firebase.was_asked.wait()
    clock.advance(1)
    firebase.disable("svc:billing")
    assert not await in_own_loop(lambda: cache.is_alive("svc:billing", 0))
    firebase.gate.set()
    assert not await asking
    assert not await cache.is_alive("svc:billing", 0)


async def test_revocation_depends_on_the_times_of_sign_in_and_of_minting() -> None:
    """A sign-in before the revocation is not valid any more, nor is one after it with a token from before."""
    firebase = FakeFirebase(clock=FakeClock(1000.0))
    known(firebase, "u")
    firebase.revoke("u")
    cache = StatusCache(firebase)
    assert not await cache.is_alive("u", 1000)
    assert await cache.is_alive("u", 1001)
    assert not await cache.is_alive("u", 1002, minted_at=1000)
    assert await cache.is_alive("u", 1002, minted_at=1002)


async def test_the_status_tells_an_unknown_identity_from_a_disabled_one(
    firebase: GatedFirebase, cache: StatusCache
) -> None:
    """The token service issues tokens to an identity that has never signed in."""
    firebase.disable("svc:bad")
    assert await cache.status("svc:new") is None
    status = await cache.status("svc:bad")
    assert status is not None
    assert status.disabled


class TestServiceTokens:
    """Whether a service token is valid, by the times of its minting, of its sign-in, and of a revocation."""

    REVOKED = IdentityStatus(disabled=False, valid_since=2000, created_at=1000)

    @pytest.mark.parametrize(
        ("minted_at", "auth_time", "accepted"),
        [
            (2001, 2001, True),
            (2001, 2002, True),
            (2002, 2001, True),
            (2000, 2001, False),
            (2001, 2000, False),
            (1999, 3000, False),
            (3000, 1999, False),
        ],
    )
    def test_nothing_from_before_a_revocation_is_valid(self, minted_at: int, auth_time: int, accepted: bool) -> None:
        """A token must be minted and signed in after the second of the revocation."""
        assert self.REVOKED.accepts(auth_time, minted_at) is accepted

    def test_a_users_token_of_the_second_of_the_revocation_is_valid(self) -> None:
        """Firebase accepts it, and users' tokens are not minted: a new log-in of the same second must count."""
        assert self.REVOKED.accepts(2000)
        assert not self.REVOKED.accepts(1999)

    @pytest.mark.parametrize("valid_since", [0, 1000, 1001])
    def test_the_creation_of_an_identity_is_not_a_revocation(self, valid_since: int) -> None:
        """The first sign-in creates it. The minting comes before, and a clock may be behind by some seconds more."""
        created = IdentityStatus(disabled=False, valid_since=valid_since, created_at=1000)
        assert created.accepts(valid_since or 1000, minted_at=990)

    def test_a_session_of_an_identity_that_was_deleted_is_not_valid(self) -> None:
        """If a new identity of the same name was created, sessions of the old one do not count."""
        created = IdentityStatus(disabled=False, valid_since=1000, created_at=1000)
        assert not created.accepts(999, minted_at=990)

    def test_a_disabled_identity_has_no_valid_tokens(self) -> None:
        """The times do not matter."""
        disabled = IdentityStatus(disabled=True, valid_since=0, created_at=0)
        assert not disabled.accepts(3000, 3000)
        assert not disabled.accepts(3000)


async def test_an_identity_that_does_not_exist_is_not_alive(cache: StatusCache) -> None:
    """A deleted identity is treated like a disabled one."""
    assert not await cache.is_alive("svc:gone", 0)


async def test_calls_share_look_ups(firebase: GatedFirebase, cache: StatusCache) -> None:
    """A call that arrives during a look-up joins the next one; one look-up is for up to 100 identities."""
    uids = [f"u{number}" for number in range(250)]
    known(firebase, "first", *uids)
    firebase.gate.clear()
    first = asyncio.create_task(cache.is_alive("first", 0))
    await asyncio.sleep(0)
    others = [asyncio.create_task(cache.is_alive(uid, 0)) for uid in uids for _ in range(3)]
    await firebase.was_asked.wait()
    firebase.gate.set()
    assert all(await asyncio.gather(first, *others))
    assert [len(asked) for asked in firebase.asked] in ([1, 100, 100, 50], [100, 100, 51])


async def test_a_cancelled_call_does_not_affect_the_others(firebase: GatedFirebase, cache: StatusCache) -> None:
    """A look-up goes on if one of the calls that wait for it is cancelled."""
    known(firebase, "u")
    firebase.gate.clear()
    impatient, patient = (asyncio.create_task(cache.is_alive("u", 0)) for _ in range(2))
    await firebase.was_asked.wait()
    impatient.cancel()
    firebase.gate.set()
    assert await patient
    assert firebase.look_ups == 1


async def test_an_outage_is_neither_yes_nor_no(firebase: GatedFirebase, cache: StatusCache) -> None:
    """If the status of an identity is not known and Firebase is down, the answer is an error."""
    firebase.down = True
    with pytest.raises(VerifierUnavailable):
        await cache.is_alive("svc:billing", 0)


async def test_an_outage_keeps_the_last_status_for_15_minutes(
    firebase: GatedFirebase, clock: FakeClock, cache: StatusCache, caplog: pytest.LogCaptureFixture
) -> None:
    """After that, calls are refused with 503; when Firebase is back, it is asked again."""
    known(firebase, "svc:billing", "svc:bad")
    firebase.disable("svc:bad")
    await cache.is_alive("svc:billing", 0)
    await cache.is_alive("svc:bad", 0)
    firebase.down = True
    for _ in range(14):
        clock.advance(60)
        assert await cache.is_alive("svc:billing", 0)
        assert not await cache.is_alive("svc:bad", 0)
    clock.advance(60)
    with pytest.raises(VerifierUnavailable):
        await cache.is_alive("svc:billing", 0)
    firebase.down = False
    clock.advance(1)
    assert await cache.is_alive("svc:billing", 0)
    assert caplog.messages == [
        "identity status cannot be looked up: The fake Firebase is down.",
        "identity status can be looked up again",
    ]


async def test_after_an_outage_of_days_the_background_look_ups_go_on(
    firebase: GatedFirebase, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand failed look-ups do not end them: a disabled identity is noticed in time, as before the outage."""
    sleep = ManualSleep()
    cache = StatusCache(firebase, clock=clock, sleep=sleep)
    known(firebase, "svc:billing")
    await cache.open()
    assert await cache.is_alive("svc:billing", 0)
    firebase.down = True
    while clock.now < FakeClock().now + DAY_SECONDS / 4:
        clock.advance(await sleep.asked_seconds.get())
        sleep.wake()
        with contextlib.suppress(VerifierUnavailable):
            await cache.is_alive("svc:billing", 0)
    assert len(firebase.asked) > 1_100
    firebase.down = False
    clock.advance(1)
    assert await cache.is_alive("svc:billing", 0)
    firebase.disable("svc:billing")
    clock.advance(await sleep.asked_seconds.get())
    sleep.wake()
    await sleep.asked_seconds.get()
    asked = len(firebase.asked)
    assert not await cache.is_alive("svc:billing", 0)
    assert len(firebase.asked) == asked
    assert "identity status was not refreshed" not in caplog.messages
    await cache.aclose()


async def test_during_an_outage_few_calls_wait(firebase: GatedFirebase, clock: FakeClock, cache: StatusCache) -> None:
    """Known identities cause one look-up in 10 s, unknown identities one a second."""
    known(firebase, "svc:billing")
    await cache.is_alive("svc:billing", 0)
    firebase.down = True
    clock.advance(10)
    for _ in range(20):
        await cache.is_alive("svc:billing", 0)
        clock.advance(0.4)
    assert len(firebase.asked) == 1 + 1
    clock.advance(10)
    for _ in range(10):
        with pytest.raises(VerifierUnavailable):
            await cache.is_alive("svc:new", 0)
        clock.advance(0.25)
    assert len(firebase.asked) == 1 + 1 + 3


class SilentFirebase(FakeFirebase):
    """Answers until it is `silent`. Then each look-up hangs until the test calls `time_out`."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = False
        self.hung = 0
        self._timed_out = asyncio.Event()

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        if not self.silent:
            return await super().look_up(uids)
        self.hung += 1
        await self._timed_out.wait()
        raise VerifierUnavailable("Firebase did not answer within 5 s.")

    def time_out(self) -> None:
        self._timed_out.set()
        self._timed_out = asyncio.Event()


class ReplaceableDirectory(IdentityDirectory):
    """A directory that works until another one takes its place."""

    def __init__(self) -> None:
        self.working = FakeFirebase()
        self.silent: IdentityDirectory | None = None

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        return await (self.silent or self.working).look_up(uids)


async def at_once(answer: Coroutine[object, object, bool]) -> bool:
    """Return the answer of a call. Fail if the call waits for anything."""
    task = asyncio.ensure_future(answer)
    for _ in range(3):
        await asyncio.sleep(0)
    if not task.done():
        task.cancel()
        pytest.fail("the call waits")
    return task.result()


class TestSilence:
    """Firebase accepts connections and does not answer. A call with a status that still counts never waits."""

    @pytest.fixture
    def firebase(self) -> SilentFirebase:
        firebase = SilentFirebase()
        known(firebase, "svc:billing", "svc:rare")
        return firebase

    async def test_no_call_waits_in_a_minute_of_silence(self, firebase: SilentFirebase, clock: FakeClock) -> None:
        """Look-ups in the background hang for 5 s each. Meanwhile 600 calls go on, and later ones as well."""
        sleep = ManualSleep()
        cache = StatusCache(firebase, clock=clock, sleep=sleep)
        await cache.open()
        assert await cache.is_alive("svc:billing", 0)
        firebase.silent = True
        due_at = clock.now + await sleep.asked_seconds.get()
        began_at = None
        for _ in range(600):
            clock.advance(0.1)
            if began_at is None and clock.now >= due_at:
                sleep.wake()
                began_at = clock.now
            elif began_at is not None and clock.now - began_at >= 5:
                firebase.time_out()
                due_at, began_at = clock.now + await sleep.asked_seconds.get(), None
            assert await at_once(cache.is_alive("svc:billing", 0))
        assert firebase.hung == 6
        firebase.silent = False
        firebase.disable("svc:billing")
        firebase.time_out()
        clock.advance(9)
        sleep.wake()
        await sleep.asked_seconds.get()
        assert not await at_once(cache.is_alive("svc:billing", 0))
        await cache.aclose()

    async def test_without_background_work_only_the_first_call_waits(
        self, firebase: SilentFirebase, clock: FakeClock
    ) -> None:
        """The call that finds a status too old waits for a look-up; after half a second, it and others go on."""
        cache = StatusCache(firebase, clock=clock)
        assert await cache.is_alive("svc:billing", 0)
        firebase.silent = True
        clock.advance(10)
        first = asyncio.create_task(cache.is_alive("svc:billing", 0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not first.done()
        clock.advance(0.5)
        for _ in range(100):
            assert await at_once(cache.is_alive("svc:billing", 0))
        assert await first
        assert firebase.hung == 1
        await cache.aclose()

    async def test_an_old_status_does_not_count_because_firebase_is_slow(
        self, firebase: SilentFirebase, clock: FakeClock
    ) -> None:
        """An identity that has not called for minutes may have been disabled. Its calls wait for the look-up."""
        cache = StatusCache(firebase, clock=clock)
        assert await cache.is_alive("svc:rare", 0)
        firebase.silent = True
        clock.advance(300)
        rare = asyncio.create_task(cache.is_alive("svc:rare", 0))
        for _ in range(3):
            await asyncio.sleep(0)
        assert firebase.hung == 1
        clock.advance(1)
        again = asyncio.create_task(cache.is_alive("svc:rare", 0))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not rare.done()
        assert not again.done()
        firebase.time_out()
        assert await rare
        assert await again
        await cache.aclose()

    async def test_a_call_starts_a_late_refresh_and_does_not_wait(
        self, firebase: SilentFirebase, clock: FakeClock
    ) -> None:
        """In an event loop without background work, a status that is nearly 10 s old is looked up for later calls."""
        cache = StatusCache(firebase, clock=clock)
        assert await cache.is_alive("svc:billing", 0)
        firebase.disable("svc:billing")
        clock.advance(9.5)
        assert await at_once(cache.is_alive("svc:billing", 0))
        await asyncio.sleep(0)
        assert not await at_once(cache.is_alive("svc:billing", 0))
        assert firebase.look_ups == 2

    async def test_an_unknown_identity_waits_for_a_limited_time(self, firebase: SilentFirebase) -> None:
        """Its call is refused with 503 when the time for a look-up is over, also if it joined a look-up of others."""
        cache = StatusCache(firebase, look_up_seconds=0.05)
        firebase.silent = True
        calls = [asyncio.create_task(cache.is_alive(f"svc:{number}", 0)) for number in range(250)]
        done, _ = await asyncio.wait(calls, timeout=LONG_SECONDS)
        assert len(done) == 250
        assert all(isinstance(call.exception(), VerifierUnavailable) for call in calls)
        assert firebase.hung <= 2
        assert cache.last_error == "Firebase did not answer within 0.05 s."
        await cache.aclose()

    async def test_a_server_that_never_answers(self, clock: FakeClock) -> None:
        """Through firebase-admin, which blocks in a thread, known identities go on and unknown ones are refused."""
        with SilentServer() as server, environment(FIREBASE_AUTH_EMULATOR_HOST=f"127.0.0.1:{server.port}"):
            directory = ReplaceableDirectory()
            known(directory.working, "svc:billing")
            cache = StatusCache(directory, clock=clock, look_up_seconds=0.1)
            assert await cache.is_alive("svc:billing", 0)
            directory.silent = AdminDirectory(Settings(project_id="demo-silent"))
            clock.advance(9.5)
            assert await at_once(cache.is_alive("svc:billing", 0))
            await asyncio.to_thread(server.wait_for_request)
            clock.advance(0.5)
            for _ in range(100):
                assert await at_once(cache.is_alive("svc:billing", 0))
            with pytest.raises(VerifierUnavailable):
                await asyncio.wait_for(cache.is_alive("svc:new", 0), LONG_SECONDS)
            clock.advance(60)
            assert await asyncio.wait_for(cache.is_alive("svc:billing", 0), LONG_SECONDS)
            await cache.aclose()

    async def test_a_status_too_old_to_count_never_admits(self, firebase: SilentFirebase, clock: FakeClock) -> None:
        """After 15 minutes of silence, the calls of a known identity are refused."""
        cache = StatusCache(firebase, clock=clock, look_up_seconds=0.05)
        assert await cache.is_alive("svc:billing", 0)
        firebase.silent = True
        clock.advance(15 * 60)
        for _ in range(3):
            with pytest.raises(VerifierUnavailable):
                await cache.is_alive("svc:billing", 0)
        await cache.aclose()


async def test_identities_in_use_are_looked_up_in_the_background(firebase: GatedFirebase, clock: FakeClock) -> None:
    """One look-up every 9 s is for all of them: no call waits, and a disabled identity is noticed in time."""
    sleep = ManualSleep()
    cache = StatusCache(firebase, clock=clock, sleep=sleep)
    known(firebase, "a", "b", "c")
    await cache.open()
    for uid in "abc":
        await cache.is_alive(uid, 0)
    firebase.asked.clear()
    firebase.disable("b")
    assert await sleep.asked_seconds.get() == 9
    clock.advance(9)
    sleep.wake()
    await sleep.asked_seconds.get()
    assert firebase.asked == [{"a", "b", "c"}]
    assert [await cache.is_alive(uid, 0) for uid in "abc"] == [True, False, True]
    assert len(firebase.asked) == 1
    await cache.aclose()


async def test_identities_out_of_use_are_dropped(firebase: GatedFirebase, clock: FakeClock) -> None:
    """An identity that has not called for a minute is not looked up; after 15 minutes it is dropped."""
    sleep = ManualSleep()
    cache = StatusCache(firebase, clock=clock, sleep=sleep)
    known(firebase, "a", "b")
    await cache.open()
    await cache.is_alive("a", 0)
    clock.advance(55)
    await cache.is_alive("b", 0)
    firebase.asked.clear()
    for _ in range(2):
        await sleep.asked_seconds.get()
        clock.advance(9)
        sleep.wake()
    await sleep.asked_seconds.get()
    assert firebase.asked == [{"b"}, {"b"}]
    clock.advance(16 * 60)
    sleep.wake()
    await sleep.asked_seconds.get()
    assert not cache._known
    await cache.aclose()


class DefectiveFirebase(FakeFirebase):
    """Raises an exception once, at the second look-up."""

    shown = False

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        if self.look_ups == 1 and not self.shown:
            self.shown = True
            raise ZeroDivisionError
        return await super().look_up(uids)


async def test_a_defect_does_not_end_the_background_work(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """The exception is logged, and the next look-up is made."""
    firebase, sleep = DefectiveFirebase(), ManualSleep()
    cache = StatusCache(firebase, clock=clock, sleep=sleep)
    known(firebase, "a")
    await cache.open()
    await cache.is_alive("a", 0)
    for _ in range(2):
        await sleep.asked_seconds.get()
        clock.advance(9)
        sleep.wake()
    await sleep.asked_seconds.get()
    assert firebase.look_ups == 2
    assert "ZeroDivisionError" in caplog.text
    await cache.aclose()


async def test_the_cache_is_bounded(firebase: GatedFirebase, cache: StatusCache) -> None:
    """The identity that was looked up longest ago is dropped first."""
    for number in range(MAX_IDENTITIES + 1):
        await cache.is_alive(f"u{number}", 0)
    asked = firebase.look_ups
    await cache.is_alive(f"u{MAX_IDENTITIES}", 0)
    assert firebase.look_ups == asked
    await cache.is_alive("u0", 0)
    assert firebase.look_ups == asked + 1


async def test_a_look_up_of_a_loop_that_ended_is_forgotten(firebase: GatedFirebase, clock: FakeClock) -> None:
    """What it would have answered is not taken for an answer, so its identities do not count as deleted."""
    known(firebase, "svc:billing", "svc:user")
    cache, left = StatusCache(firebase, clock=clock), asyncio.new_event_loop()
    firebase.gate.clear()

    async def begin_and_leave() -> None:
        asking = asyncio.ensure_future(cache.status("svc:billing"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not asking.done()

    await asyncio.to_thread(left.run_until_complete, begin_and_leave())
    assert firebase.asked == [{"svc:billing"}]
    firebase.gate.set()
    assert await cache.is_alive("svc:user", 0)
    assert await cache.is_alive("svc:billing", 0)
    await asyncio.to_thread(left.run_until_complete, cancel_all())
    left.close()


async def cancel_all() -> None:
    """Cancel all other tasks of the loop, as the end of a program does."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_any_thread_may_make_the_cache_forget(firebase: GatedFirebase, cache: StatusCache) -> None:
    """A route in a thread forgets an identity while a look-up is under way: its old status is not stored."""
    known(firebase, "svc:billing")
    firebase.gate.clear()
    asking = asyncio.create_task(cache.is_alive("svc:billing", 0))
    await firebase.was_asked.wait()
    firebase.disable("svc:billing")
    await asyncio.to_thread(cache.forget, "svc:billing")
    firebase.gate.set()
    assert await asking is False
