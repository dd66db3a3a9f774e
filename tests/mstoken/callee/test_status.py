"""The status cache asks seldom, and believes what it was told last."""

import pytest

from mstoken.callee.status import MAX_IDENTITIES, StatusCache
from mstoken.errors import VerifierUnavailable
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock


def known(firebase: FakeFirebase, uid: str) -> None:
    """Makes `uid` exist."""
    firebase.issue(uid, provider="custom")


async def test_one_look_up_serves_ten_seconds() -> None:
    """Firebase is asked at most once in 10 s for an identity."""
    firebase, clock = FakeFirebase(), FakeClock()
    cache = StatusCache(firebase, clock=clock)
    known(firebase, "svc:billing")
    for _ in range(5):
        assert await cache.is_alive("svc:billing", 0)
    assert firebase.look_ups == 1
    clock.advance(10)
    await cache.is_alive("svc:billing", 0)
    assert firebase.look_ups == 2


async def test_a_disabled_identity_is_dead_within_ten_seconds() -> None:
    """The cached answer does not outlive its time."""
    firebase, clock = FakeFirebase(), FakeClock()
    cache = StatusCache(firebase, clock=clock)
    known(firebase, "svc:billing")
    assert await cache.is_alive("svc:billing", 0)
    firebase.disable("svc:billing")
    clock.advance(10)
    assert not await cache.is_alive("svc:billing", 0)


async def test_forgetting_makes_it_at_once() -> None:
    """A log-out that happened here counts here without delay."""
    firebase = FakeFirebase()
    cache = StatusCache(firebase)
    known(firebase, "u")
    assert await cache.is_alive("u", 0)
    firebase.revoke("u")
    assert await cache.is_alive("u", 0)
    cache.forget("u")
    cache.forget("never seen")
    assert not await cache.is_alive("u", 0)


async def test_revocation_is_by_the_time_of_sign_in() -> None:
    """What signed in before does not count, what signed in from then on does."""
    clock = FakeClock(1000.0)
    firebase = FakeFirebase(clock=clock)
    known(firebase, "u")
    firebase.revoke("u")
    cache = StatusCache(firebase)
    assert not await cache.is_alive("u", 1000)
    assert await cache.is_alive("u", 1001)


async def test_who_does_not_exist_is_not_alive() -> None:
    """A deleted identity is refused."""
    assert not await StatusCache(FakeFirebase()).is_alive("svc:gone", 0)


async def test_an_outage_is_no_answer() -> None:
    """Neither yes nor no is made up."""
    firebase = FakeFirebase()
    firebase.down = True
    with pytest.raises(VerifierUnavailable):
        await StatusCache(firebase).is_alive("svc:billing", 0)


async def test_the_cache_is_bounded() -> None:
    """The identity that was asked about longest ago makes room."""
    firebase = FakeFirebase()
    cache = StatusCache(firebase, clock=FakeClock())
    for number in range(MAX_IDENTITIES + 1):
        await cache.is_alive(f"u{number}", 0)
    asked = firebase.look_ups
    await cache.is_alive(f"u{MAX_IDENTITIES}", 0)
    assert firebase.look_ups == asked
    await cache.is_alive("u0", 0)
    assert firebase.look_ups == asked + 1
