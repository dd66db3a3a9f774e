"""Stores of shared identity status for tests, and the promises of every such store."""

import asyncio
from collections.abc import Collection, Mapping

from typing_extensions import override

from mstoken.callee.shared_status import ENTRY_SECONDS, FAILURE_SECONDS, LEASE_SECONDS, Found, Reply, StatusStore
from mstoken.errors import VerifierUnavailable
from tests.clock import FakeClock

FAILED = "failed"


class MemoryStatusStore(StatusStore):
    """A store in this process, with a clock of its own. While it is `down`, it raises; while it `hangs`, it waits."""

    def __init__(self, clock: FakeClock) -> None:
        self.down = False
        self.hangs = False
        self.asked = 0
        self.entries: dict[str, tuple[int, str]] = {}
        """The time at which the look-up of each identity began, in milliseconds, and the entry."""
        self._clock = clock
        self._leases: dict[str, tuple[str, float]] = {}

    @override
    async def ask(self, max_ages: Mapping[str, float], mark: str) -> dict[str, Reply]:
        self.asked += 1
        await self._fail_or_hang()
        now_ms = self._now_ms()
        return {uid: self._reply(uid, max_age, mark, now_ms) for uid, max_age in max_ages.items()}

    def _reply(self, uid: str, max_age: float, mark: str, now_ms: int) -> Reply:
        began_ms, entry = self.entries.get(uid, (0, ""))
        if 0 <= now_ms - began_ms <= min(max_age, ENTRY_SECONDS) * 1000:
            return Reply(Found.ENTRY, now_ms, entry, (now_ms - began_ms) / 1000)
        holder, ends_at = self._leases.get(uid, ("", 0.0))
        if ends_at > self._clock() and holder != mark:
            return Reply(Found.FAILED if holder == FAILED else Found.BUSY, now_ms)
        self._leases[uid] = (mark, self._clock() + LEASE_SECONDS)
        return Reply(Found.LEASE, now_ms)

    @override
    async def tell(self, entries: Mapping[str, str], began_ms: Mapping[str, int], mark: str) -> None:
        await self._fail_or_hang()
        for uid, entry in entries.items():
            if self.entries.get(uid, (0, ""))[0] <= began_ms[uid]:
                self.entries[uid] = (began_ms[uid], entry)
            if self._leases.get(uid, ("", 0.0))[0] == mark:
                del self._leases[uid]

    @override
    async def fail(self, uids: Collection[str], mark: str) -> None:
        await self._fail_or_hang()
        for uid in uids:
            if self._leases.get(uid, ("", 0.0))[0] == mark:
                self._leases[uid] = (FAILED, self._clock() + FAILURE_SECONDS)

    @override
    async def aclose(self) -> None: ...

    async def _fail_or_hang(self) -> None:
        if self.down:
            raise VerifierUnavailable("The store is down.")
        if self.hangs:
            await asyncio.Event().wait()

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class StatusStoreContract:
    """What every store promises. A subclass has the fixture `store`."""

    async def test_the_first_gets_the_lease(self, store: StatusStore) -> None:
        """The others learn that somebody looks the identity up."""
        assert (await store.ask({"a": 9.0}, "first"))["a"].found is Found.LEASE
        assert (await store.ask({"a": 9.0}, "second"))["a"].found is Found.BUSY
        assert (await store.ask({"a": 9.0, "b": 9.0}, "first"))["a"].found is Found.LEASE

    async def test_what_the_first_tells_the_others_find(self, store: StatusStore) -> None:
        """The entry has an age that counts from when the lease was given."""
        lease = (await store.ask({"a": 9.0}, "first"))["a"]
        await store.tell({"a": "text"}, {"a": lease.now_ms}, "first")
        reply = (await store.ask({"a": 9.0}, "second"))["a"]
        assert (reply.found, reply.entry) == (Found.ENTRY, "text")
        assert reply.age_seconds == (reply.now_ms - lease.now_ms) / 1000

    async def test_an_entry_that_is_too_old_gives_a_lease(self, store: StatusStore) -> None:
        """How old an entry may be is decided for each identity."""
        lease = (await store.ask({"a": 9.0, "b": 9.0}, "first"))["a"]
        began = {"a": lease.now_ms - 5_000, "b": lease.now_ms - 5_000}
        await store.tell({"a": "text", "b": "text"}, began, "first")
        replies = await store.ask({"a": 9.0, "b": 4.5}, "second")
        assert [replies[uid].found for uid in "ab"] == [Found.ENTRY, Found.LEASE]
        assert replies["a"].age_seconds >= 5

    async def test_a_negative_age_is_never_met(self, store: StatusStore) -> None:
        """An identity that was forgotten a moment ago is looked up."""
        lease = (await store.ask({"a": 9.0}, "first"))["a"]
        await store.tell({"a": "text"}, {"a": lease.now_ms}, "first")
        assert (await store.ask({"a": -0.001}, "second"))["a"].found is Found.LEASE

    async def test_an_older_look_up_does_not_replace_a_newer_one(self, store: StatusStore) -> None:
        """A process that was held up must not bring back a status from before a revocation."""
        lease = (await store.ask({"a": 9.0}, "first"))["a"]
        await store.tell({"a": "new"}, {"a": lease.now_ms}, "second")
        await store.tell({"a": "old"}, {"a": lease.now_ms - 100}, "first")
        assert (await store.ask({"a": 9.0}, "third"))["a"].entry == "new"

    async def test_the_others_learn_of_a_failure(self, store: StatusStore) -> None:
        """They do not all ask a Firebase that does not answer. Only the holder of the lease can say so."""
        await store.ask({"a": 9.0}, "first")
        await store.fail(["a"], "second")
        assert (await store.ask({"a": 9.0}, "third"))["a"].found is Found.BUSY
        await store.fail(["a"], "first")
        assert (await store.ask({"a": 9.0}, "third"))["a"].found is Found.FAILED

    async def test_many_identities_at_once(self, store: StatusStore) -> None:
        """A hundred identities are asked for at once, whatever characters their uids have."""
        uids = [f"user:{number}/ñ {'{x}' * (number % 3)}" for number in range(100)]
        leases = await store.ask(dict.fromkeys(uids, 9.0), "first")
        assert {reply.found for reply in leases.values()} == {Found.LEASE}
        await store.tell({uid: uid for uid in uids}, {uid: leases[uid].now_ms for uid in uids}, "first")
        found = await store.ask(dict.fromkeys(uids, 9.0), "second")
        assert {uid: reply.entry for uid, reply in found.items()} == {uid: uid for uid in uids}
