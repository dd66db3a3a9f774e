"""The status cache asks seldom, for all at once, and believes what it was told last."""

import asyncio
from collections.abc import Sequence

import pytest

from mstoken.callee.firebase import IdentityStatus
from mstoken.callee.status import MAX_IDENTITIES, StatusCache
from mstoken.errors import VerifierUnavailable
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock, ManualSleep


class GatedFirebase(FakeFirebase):
    """Answers look-ups only while `gate` is open, and remembers whom they were for."""

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
    """Makes identities exist."""
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


async def test_one_look_up_serves_ten_seconds(firebase: GatedFirebase, clock: FakeClock, cache: StatusCache) -> None:
    """Firebase is asked at most once in 10 s for an identity."""
    known(firebase, "svc:billing")
    for _ in range(5):
        assert await cache.is_alive("svc:billing", 0)
    assert firebase.look_ups == 1
    clock.advance(10)
    await cache.is_alive("svc:billing", 0)
    assert firebase.look_ups == 2


async def test_a_disabled_identity_is_dead_within_ten_seconds(
    firebase: GatedFirebase, clock: FakeClock, cache: StatusCache
) -> None:
    """The cached answer does not outlive its time."""
    known(firebase, "svc:billing")
    assert await cache.is_alive("svc:billing", 0)
    firebase.disable("svc:billing")
    clock.advance(10)
    assert not await cache.is_alive("svc:billing", 0)


async def test_forgetting_makes_it_at_once(firebase: GatedFirebase, cache: StatusCache) -> None:
    """A log-out that happened here counts here without delay."""
    known(firebase, "u")
    assert await cache.is_alive("u", 0)
    firebase.revoke("u")
    assert await cache.is_alive("u", 0)
    cache.forget("u")
    cache.forget("never seen")
    assert not await cache.is_alive("u", 0)


async def test_an_answer_from_before_a_log_out_does_not_count(firebase: GatedFirebase, cache: StatusCache) -> None:
    """A look-up that was under way when the identity was forgotten is asked again."""
    known(firebase, "u")
    firebase.gate.clear()
    asking = asyncio.create_task(cache.is_alive("u", 0))
    await firebase.was_asked.wait()
    firebase.revoke("u")
    cache.forget("u")
    firebase.gate.set()
    assert not await asking


async def test_revocation_is_by_the_time_of_sign_in() -> None:
    """What signed in before does not count, what signed in from then on does."""
    firebase = FakeFirebase(clock=FakeClock(1000.0))
    known(firebase, "u")
    firebase.revoke("u")
    cache = StatusCache(firebase)
    assert not await cache.is_alive("u", 1000)
    assert await cache.is_alive("u", 1001)


async def test_who_does_not_exist_is_not_alive(cache: StatusCache) -> None:
    """A deleted identity is refused."""
    assert not await cache.is_alive("svc:gone", 0)


async def test_those_who_come_together_share_look_ups(firebase: GatedFirebase, cache: StatusCache) -> None:
    """Who comes while a look-up is under way joins the next; 100 identities go into one."""
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


async def test_a_caller_that_gives_up_leaves_the_others_alone(firebase: GatedFirebase, cache: StatusCache) -> None:
    """A cancelled request does not cancel the look-up that others wait for."""
    known(firebase, "u")
    firebase.gate.clear()
    impatient, patient = (asyncio.create_task(cache.is_alive("u", 0)) for _ in range(2))
    await firebase.was_asked.wait()
    impatient.cancel()
    firebase.gate.set()
    assert await patient
    assert firebase.look_ups == 1


async def test_an_outage_is_no_answer(firebase: GatedFirebase, cache: StatusCache) -> None:
    """Neither yes nor no is made up for whom nobody knows."""
    firebase.down = True
    with pytest.raises(VerifierUnavailable):
        await cache.is_alive("svc:billing", 0)


async def test_an_outage_keeps_the_last_status_for_15_minutes(
    firebase: GatedFirebase, clock: FakeClock, cache: StatusCache, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it is 503; and when Firebase is back it is asked again."""
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
    assert caplog.messages == ["identity status cannot be looked up", "identity status can be looked up again"]


async def test_in_an_outage_few_calls_wait(firebase: GatedFirebase, clock: FakeClock, cache: StatusCache) -> None:
    """One attempt in 10 s for those who are known, one a second for those who are not."""
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


async def test_the_background_keeps_those_in_use_fresh(firebase: GatedFirebase, clock: FakeClock) -> None:
    """One look-up every 9 s for all of them: no call waits, and a disabled identity is found out in time."""
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


async def test_the_background_drops_those_out_of_use(firebase: GatedFirebase, clock: FakeClock) -> None:
    """Who has not called for a minute is not looked up, and is forgotten after 15."""
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
    """Has a defect that shows once, at the second look-up."""

    shown = False

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        if self.look_ups == 1 and not self.shown:
            self.shown = True
            raise ZeroDivisionError
        return await super().look_up(uids)


async def test_a_defect_does_not_end_the_background_work(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next look-up is made."""
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
    """The identity that was asked about longest ago makes room."""
    for number in range(MAX_IDENTITIES + 1):
        await cache.is_alive(f"u{number}", 0)
    asked = firebase.look_ups
    await cache.is_alive(f"u{MAX_IDENTITIES}", 0)
    assert firebase.look_ups == asked
    await cache.is_alive("u0", 0)
    assert firebase.look_ups == asked + 1
