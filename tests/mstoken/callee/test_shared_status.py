"""Processes share the status of identities: one looks up, the others find the result, and it is never too old."""

import asyncio
import heapq
import json

import pytest

from mstoken.callee.firebase import IdentityStatus
from mstoken.callee.redis_status import RedisStatusStore
from mstoken.callee.shared_status import LEASE_SECONDS, PROBE_SECONDS, read_entry, status_store, write_entry
from mstoken.callee.status import StatusCache
from mstoken.errors import SettingsError, VerifierUnavailable
from mstoken.settings import Settings
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock
from tests.mstoken.callee.status_stores import MemoryStatusStore, StatusStoreContract

BILLING = "svc:billing"
A_MINUTE = 60.0


class HeldFirebase(FakeFirebase):
    """Answers look-ups while `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()
        self.began = asyncio.Event()

    async def look_up(self, uids: object) -> dict[str, IdentityStatus]:
        found = await super().look_up(uids)  # type: ignore[arg-type] # as the caller gave them
        self.began.set()
        await self.answers.wait()
        return found


class Fleet:
    """Processes that share a store. Each has a clock that shows something else."""

    def __init__(self, processes: int, *, services: tuple[str, ...] = (BILLING,)) -> None:
        self.time = FakeClock()
        self.firebase = HeldFirebase()
        for uid in services:
            self.firebase.issue(uid, provider="custom")
        self.store = MemoryStatusStore(self.time)
        self.caches = [self.process(number) for number in range(processes)]

    def process(self, number: int = 0, *, look_up_seconds: float = 30.0) -> StatusCache:
        """Return the cache of a new process."""
        ahead_seconds = 1_000.0 * number
        return StatusCache(
            self.firebase,
            clock=lambda: self.time() + ahead_seconds,
            shared=self.store,
            jitter=lambda: (number * 0.618) % 1,
            look_up_seconds=look_up_seconds,
        )

    async def run(self, seconds: float) -> None:
        """Let all caches refresh when they are due, and their identities be used all the time."""
        end = self.time() + seconds
        due = [(self.time(), number) for number in range(len(self.caches))]
        while due:
            at, number = heapq.heappop(due)
            if at > end:
                break
            self.time.now = max(self.time.now, at)
            cache = self.caches[number]
            assert await cache.is_alive(BILLING, 0)
            heapq.heappush(due, (self.time() + await cache._refresh(), number))
        self.time.now = end


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(3)


class TestMemoryStatusStore(StatusStoreContract):
    """The store of these tests keeps the promises of a real one."""

    @pytest.fixture
    def store(self) -> MemoryStatusStore:
        return MemoryStatusStore(FakeClock())


class TestLookUps:
    """They grow with identities, and not with processes."""

    @pytest.mark.parametrize("processes", [1, 10, 1_000])
    async def test_look_ups_do_not_grow_with_processes(self, processes: int) -> None:
        """One identity is looked up every 9 s, however many callee processes there are."""
        fleet = Fleet(processes)
        await fleet.run(A_MINUTE)
        assert fleet.firebase.look_ups == 7

    @pytest.mark.slow
    async def test_nor_do_they_with_ten_thousand(self) -> None:
        """It is the same number."""
        fleet = Fleet(10_000)
        await fleet.run(A_MINUTE)
        assert fleet.firebase.look_ups == 7

    async def test_a_thousand_processes_that_start_together(self) -> None:
        """One of them looks up, and the others wait for its entry."""
        fleet = Fleet(1_000)
        fleet.firebase.answers.clear()
        asking = [asyncio.create_task(cache.is_alive(BILLING, 0)) for cache in fleet.caches]
        await fleet.firebase.began.wait()
        fleet.firebase.answers.set()
        assert all(await asyncio.gather(*asking))
        assert fleet.firebase.look_ups == 1

    async def test_identities_are_looked_up_together(self) -> None:
        """After a while, identities that were first seen at different times share look-ups."""
        services = tuple(f"svc:{name}" for name in "abcdef")
        fleet = Fleet(4, services=(BILLING, *services))
        for uid in services:
            for cache in fleet.caches:
                assert await cache.is_alive(uid, 0)
            fleet.time.advance(1)
        await fleet.run(20)
        before = fleet.firebase.look_ups
        for cache in fleet.caches:
            for uid in services:
                await cache.is_alive(uid, 0)
        await fleet.run(30)
        assert fleet.firebase.look_ups - before <= 5

    async def test_a_process_that_dies_is_replaced(self, fleet: Fleet) -> None:
        """Its lease ends after some seconds, and another one looks up."""
        await fleet.store.ask({BILLING: 9.0}, "the dead process")
        waiting = asyncio.create_task(fleet.caches[0].is_alive(BILLING, 0))
        while fleet.store.asked < 3:  # noqa: ASYNC110 - the process has no event for a question
            await asyncio.sleep(0.01)
        assert not waiting.done()
        fleet.time.advance(LEASE_SECONDS)
        assert await waiting


class TestAge:
    """A status is 10 s old at most, counted from before its look-up, on its way through the store too."""

    async def test_a_revocation_counts_within_ten_seconds(self) -> None:
        """In every process, at every moment, whichever process looked up."""
        fleet = Fleet(20)
        await fleet.run(25)
        fleet.firebase.disable(BILLING)
        disabled_at = fleet.time()
        due = [(fleet.time(), number) for number in range(len(fleet.caches))]
        while fleet.time() < disabled_at + 10:
            at, number = heapq.heappop(due)
            fleet.time.now = max(fleet.time.now, at)
            heapq.heappush(due, (fleet.time() + await fleet.caches[number]._refresh(), number))
        assert not any([await cache.is_alive(BILLING, 0) for cache in fleet.caches])

    async def test_the_age_in_the_store_and_the_age_here_add_up(self, fleet: Fleet) -> None:
        """An entry that is 8 s old is used for 2 s more."""
        first, second, _ = fleet.caches
        assert await first.is_alive(BILLING, 0)
        fleet.firebase.disable(BILLING)
        fleet.time.advance(8)
        assert await second.is_alive(BILLING, 0)
        fleet.time.advance(1.4)
        assert await second.is_alive(BILLING, 0)
        fleet.time.advance(0.6)
        assert not await second.is_alive(BILLING, 0)

    async def test_the_time_of_a_look_up_counts(self, fleet: Fleet) -> None:
        """The age begins before the look-up: Firebase may have read the status at once, and answered late."""
        first, second, _ = fleet.caches
        fleet.firebase.answers.clear()
        asking = asyncio.create_task(first.is_alive(BILLING, 0))
        await fleet.firebase.began.wait()
        fleet.firebase.disable(BILLING)
        fleet.time.advance(4)
        fleet.firebase.answers.set()
        assert await asking
        fleet.time.advance(4)
        assert await second.is_alive(BILLING, 0)
        fleet.time.advance(2)
        assert not await second.is_alive(BILLING, 0)

    async def test_a_log_out_counts_here_at_once(self, fleet: Fleet) -> None:
        """An entry from before it does not count in this process, not even one whose look-up is under way."""
        first, second, _ = fleet.caches
        assert await first.is_alive(BILLING, 0)
        fleet.firebase.disable(BILLING)
        first.forget(BILLING)
        assert not await first.is_alive(BILLING, 0)
        assert not await second.is_alive(BILLING, 0)
        assert fleet.firebase.look_ups == 2

    async def test_what_was_forgotten_is_forgotten_too(self, fleet: Fleet) -> None:
        """The times of log-outs are kept for as long as entries count."""
        cache = fleet.caches[0]
        for number in range(100):
            cache.forget(f"user-{number}")
            fleet.time.advance(1)
        assert len(cache._forgotten_at) <= 11

    async def test_an_entry_from_the_future_does_not_count(self, fleet: Fleet) -> None:
        """If the clock of the store is set back, or somebody writes such an entry, the identity is looked up."""
        alive = write_entry(BILLING, IdentityStatus(disabled=False, valid_since=0))
        fleet.firebase.disable(BILLING)
        fleet.store.entries[BILLING] = (int(fleet.time() * 1000) + 60_000, alive)
        assert not await fleet.caches[0].is_alive(BILLING, 0)


STATUS = IdentityStatus(disabled=False, valid_since=1_000, created_at=900)
MALFORMED = [
    "",
    "null",
    "[]",
    "{",
    "[" * 1_000,
    json.dumps({"uid": BILLING}),
    json.dumps({"uid": BILLING, "exists": True}),
    json.dumps({"uid": BILLING, "exists": 0}),
    json.dumps({"uid": "svc:user", "exists": False}),
    json.dumps({"uid": BILLING, "exists": False, "more": 1}),
    json.dumps({"uid": BILLING, "exists": True, "disabled": 0, "valid_since": 0, "created_at": 0}),
    json.dumps({"uid": BILLING, "exists": True, "disabled": False, "valid_since": "0", "created_at": 0}),
    json.dumps({"uid": BILLING, "exists": True, "disabled": False, "valid_since": -1, "created_at": 0}),
    json.dumps({"uid": BILLING, "exists": True, "disabled": False, "valid_since": True, "created_at": 0}),
    json.dumps({"uid": BILLING, "exists": True, "disabled": False, "valid_since": 0, "created_at": 2**60}),
    json.dumps({"uid": BILLING, "exists": True, "disabled": False, "valid_since": 0, "created_at": 0, "x": 1}),
    json.dumps({"uid": BILLING, "exists": True, "disabled": False, "valid_since": 1e3, "created_at": 0}),
    write_entry(BILLING, STATUS) + " " * 2_000,
]


class TestEntries:
    """An entry is exactly what a process writes, or it does not count."""

    @pytest.mark.parametrize("status", [None, STATUS, IdentityStatus(disabled=True, valid_since=0)])
    def test_an_entry_is_read_as_it_was_written(self, status: IdentityStatus | None) -> None:
        """Also that of an identity that does not exist."""
        entry = read_entry(BILLING, write_entry(BILLING, status))
        assert entry is not None
        assert entry.status == status

    @pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
    async def test_a_malformed_entry_leads_to_a_look_up(self, fleet: Fleet, text: str) -> None:
        """The process looks the identity up itself, and replaces the entry."""
        assert read_entry(BILLING, text) is None
        fleet.firebase.disable(BILLING)
        fleet.store.entries[BILLING] = (int(fleet.time() * 1000) - 1, text)
        assert not await fleet.caches[0].is_alive(BILLING, 0)
        assert not await fleet.caches[1].is_alive(BILLING, 0)
        assert fleet.firebase.look_ups == 1


class TestOutages:
    """Without the store each process looks up by itself. Without Firebase the last known status counts, as ever."""

    async def test_without_the_store_each_process_looks_up(
        self, fleet: Fleet, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log says it once. When the store is back, the look-ups are shared again."""
        fleet.store.down = True
        for _ in range(3):
            assert all([await cache.is_alive(BILLING, 0) for cache in fleet.caches])
        assert fleet.firebase.look_ups == 3
        assert fleet.caches[0].sharing_error == "The store is down."
        fleet.store.down = False
        for _ in range(2):
            fleet.time.advance(max(10.0, PROBE_SECONDS))
            for cache in fleet.caches:
                await cache.is_alive(BILLING, 0)
            await asyncio.sleep(0)
        before = fleet.firebase.look_ups
        fleet.time.advance(10)
        assert all([await cache.is_alive(BILLING, 0) for cache in fleet.caches])
        assert fleet.firebase.look_ups == before + 1
        assert fleet.caches[0].sharing_error is None
        assert caplog.messages.count("identity status is shared again") == 3
        assert len(caplog.messages) == 6

    async def test_a_store_that_hangs_delays_one_look_up(self, fleet: Fleet) -> None:
        """After that, the store is asked in the background only, and no call waits for it."""
        cache = fleet.caches[0]
        fleet.store.hangs = True
        assert await cache.is_alive(BILLING, 0)
        asked = fleet.store.asked
        for number in range(20):
            assert not await cache.is_alive(f"svc:new-{number}", 0)
        assert fleet.store.asked == asked
        fleet.time.advance(PROBE_SECONDS)
        assert not await cache.is_alive("svc:newer", 0)
        await asyncio.sleep(0)
        assert fleet.store.asked == asked + 1
        await cache.aclose()

    async def test_a_store_that_is_lost_after_the_look_up(self, fleet: Fleet) -> None:
        """The process has its answer, even if it cannot tell the others."""
        fleet.firebase.answers.clear()
        asking = asyncio.create_task(fleet.caches[0].is_alive(BILLING, 0))
        await fleet.firebase.began.wait()
        fleet.store.down = True
        fleet.firebase.answers.set()
        assert await asking

    async def test_a_failure_is_shared(self, fleet: Fleet) -> None:
        """While Firebase is down, processes do not all ask it: one does, once a second."""
        fleet.firebase.down = True
        before = fleet.firebase.look_ups
        for cache in fleet.caches:
            with pytest.raises(VerifierUnavailable):
                await cache.is_alive(BILLING, 0)
        assert fleet.firebase.look_ups == before
        assert [cache.last_error for cache in fleet.caches].count("The fake Firebase is down.") == 1
        fleet.firebase.down = False
        fleet.time.advance(1)
        assert all([await cache.is_alive(BILLING, 0) for cache in fleet.caches])

    async def test_a_silent_firebase_holds_up_no_process(self) -> None:
        """The process that has the lease waits for Firebase, and the others for it, each for a limited time."""
        fleet = Fleet(0)
        fleet.caches = [fleet.process(number, look_up_seconds=0.05) for number in range(5)]
        fleet.firebase.answers.clear()
        results = await asyncio.gather(*(cache.is_alive(BILLING, 0) for cache in fleet.caches), return_exceptions=True)
        assert {type(result) for result in results} == {VerifierUnavailable}
        assert fleet.firebase.look_ups == 1

    async def test_known_identities_go_on(self, fleet: Fleet) -> None:
        """With neither the store nor Firebase, the last known status counts for 15 minutes."""
        cache = fleet.caches[0]
        assert await cache.is_alive(BILLING, 0)
        fleet.store.down = fleet.firebase.down = True
        for _ in range(14):
            fleet.time.advance(A_MINUTE)
            assert await cache.is_alive(BILLING, 0)
        fleet.time.advance(A_MINUTE)
        with pytest.raises(VerifierUnavailable):
            await cache.is_alive(BILLING, 0)


class TestSettings:
    """Which Redis processes share the status in."""

    @pytest.mark.parametrize(
        "url", ["redis://redis.internal/0", "rediss://:s3cret@redis.internal", "unix:///redis.sock"]
    )
    def test_the_redis_of_spent_ids(self, url: str) -> None:
        """Without a setting of its own, it is that one."""
        assert isinstance(status_store(settings(replay_url=url)), RedisStatusStore)

    @pytest.mark.parametrize("url", ["memory:", "sqlite:///ids.db", "postgresql://db/ids", "firestore:"])
    def test_without_a_redis_nothing_is_shared(self, url: str) -> None:
        """Each process looks up by itself."""
        assert status_store(settings(replay_url=url)) is None

    def test_a_redis_of_its_own(self) -> None:
        """All callees can share one, whatever they keep spent ids in."""
        store = status_store(settings(replay_url="postgresql://db/ids", status_url="redis://redis.internal/1"))
        assert isinstance(store, RedisStatusStore)

    def test_sharing_can_be_switched_off(self) -> None:
        """A Redis for spent ids only."""
        assert status_store(settings(replay_url="redis://redis.internal", status_url="memory:")) is None

    @pytest.mark.parametrize("url", ["postgresql://s3cret@db/x", "s3cret", "sqlite:///x"])
    def test_another_kind_of_store_is_refused(self, url: str) -> None:
        """The error names the variable, and not its value, which may contain a password."""
        with pytest.raises(SettingsError, match="MSTOKEN_STATUS_URL") as caught:
            settings(status_url=url)
        assert "s3cret" not in str(caught.value)

    def test_a_url_that_redis_cannot_read(self) -> None:
        """The error names the variable."""
        with pytest.raises(SettingsError, match="MSTOKEN_STATUS_URL is not the URL of a Redis") as caught:
            status_store(settings(status_url="redis://:s3cret@host:port"))
        assert "s3cret" not in str(caught.value)


def settings(**values: str) -> Settings:
    """Return settings of a project with an emulator."""
    return Settings(project_id="demo-shop", emulator_host="127.0.0.1:9", **values)
