"""The status of identities that all processes of all callees share, so that look-ups do not grow with processes.

A store, such as Redis, has an entry for each identity in use, with the time at which its look-up began. A process takes
an entry that is young enough. Otherwise one process gets the lease of the identity and looks it up at Firebase, and the
others wait for its entry. If that process dies, its lease ends, and another one gets it.

The clocks of the processes do not count. The store says how old an entry is, by its own clock, and the process adds the
time that has passed since it asked. The age counts from before the look-up began: a status is 10 s old at most, on its
way through the store too. An entry never replaces one of a later look-up.

If the store cannot be used or is slow, each process looks up by itself, and asks the store again in the background. So
the store delays a call once, by a quarter of a second at most. An entry that is not what a process writes is ignored,
and the identity is looked up. But a program that may write to the store can write a false entry, as with spent ids.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

from mstoken.backoff import Backoff
from mstoken.callee.firebase import IdentityDirectory, IdentityStatus
from mstoken.errors import VerifierUnavailable
from mstoken.log_events import log_event
from mstoken.settings import REDIS_SCHEMES, REPLAY_URL_VARIABLE, STATUS_URL_VARIABLE, Settings, needed_by_setting
from mstoken.single_flight import SingleFlight

STORE_SECONDS = 0.25
"""How long an answer of the store is waited for."""
PROBE_SECONDS = 5.0
"""Minimum seconds between two attempts to use a store that could not be used."""
LEASE_SECONDS = 2.0
"""How long a process has the lease of an identity. After that, another process looks up too.

This is longer than a look-up usually takes, and shorter than the 5 s for which a process waits: one that dies with a
lease makes no other process believe that Firebase does not answer.
"""
FAILURE_SECONDS = 1.0
"""How long the failure of one process keeps the others from asking Firebase."""
ENTRY_SECONDS = 10.0
"""How long the store keeps an entry. An older one is of no use to a process."""
MAX_ENTRY_CHARACTERS = 1_024
_LARGEST_TIME = 2**53

_log = logging.getLogger("mstoken.status")


class AgedStatus(NamedTuple):
    """The status of an identity, None if it does not exist, and how many seconds ago its look-up began at most."""

    status: IdentityStatus | None
    age_seconds: float


class Found(Enum):
    """What a process finds in the store for one identity."""

    ENTRY = 0
    LEASE = 1
    """There is no entry that is young enough. This process now has the lease."""
    BUSY = 2
    """There is none either. Another process has the lease."""
    FAILED = 3
    """Another process has just asked Firebase and got no answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the store says about one identity. `now_ms` is its time, `entry` the entry and `age_seconds` its age."""

    found: Found
    now_ms: int
    entry: str = ""
    age_seconds: float = 0.0


class StatusStore(Protocol):
    """Keeps entries and leases. Every method raises `VerifierUnavailable` if the store cannot be used."""

    async def ask(self, max_ages: Mapping[str, float], mark: str) -> dict[str, Reply]:
        """Return what there is for identities whose entry may be so many seconds old. `mark` marks the leases."""
        ...

    async def tell(self, entries: Mapping[str, str], began_ms: Mapping[str, int], mark: str) -> None:
        """Keep entries whose look-ups began at these times of the store, and end the leases with this mark."""
        ...

    async def fail(self, uids: Collection[str], mark: str) -> None:
        """Tell the other processes for a second that Firebase did not answer, and end the leases with this mark."""
        ...

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        ...


class SharedDirectory:
    """Looks up identities in a `store` that processes share, and those that are not there in a `directory`."""

    def __init__(
        self,
        directory: IdentityDirectory,
        store: StatusStore,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        store_seconds: float = STORE_SECONDS,
    ) -> None:
        """`clock` returns seconds and never goes back. The store is given up after `store_seconds`."""
        self._directory = directory
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._store_seconds = store_seconds
        self.last_error: str | None = None
        """Why the store cannot be used now; None if it can."""
        self._probed_at = float("-inf")
        self._probe = SingleFlight(self._ask_again, "mstoken shared identity status")
        self._backoff = Backoff(first_seconds=0.05, longest_seconds=0.5)

    async def look_up(self, max_ages: Mapping[str, float]) -> dict[str, AgedStatus]:
        """Return the status of each of up to 100 identities, which may be so many seconds old.

        Raises `VerifierUnavailable` if Firebase cannot answer now.
        """
        if self.last_error is not None:
            if self._clock() - self._probed_at >= PROBE_SECONDS:
                self._probed_at = self._clock()
                self._probe.start()
            return await self._look_up_alone(max_ages)
        wanted, found, mark, rounds = dict(max_ages), dict[str, AgedStatus](), secrets.token_hex(8), 0
        while True:
            try:
                replies = await self._in_time(self._store.ask(wanted, mark))
            except VerifierUnavailable as outage:
                self._note_away(outage)
                return found | await self._look_up_alone(wanted)
            own = {}
            for uid, reply in replies.items():
                entry = read_entry(uid, reply.entry) if reply.found is Found.ENTRY else None
                if entry is not None:
                    found[uid] = AgedStatus(entry.status, max(0.0, reply.age_seconds))
                elif reply.found in {Found.ENTRY, Found.LEASE}:
                    own[uid] = reply.now_ms
            if own:
                found |= await self._look_up_for_all(own, mark)
            wanted = {uid: max_age for uid, max_age in wanted.items() if uid not in found}
            if not wanted:
                return found
            if any(replies[uid].found is Found.FAILED for uid in wanted):
                raise VerifierUnavailable("Another process has just asked Firebase, which did not answer.")
            rounds += 1
            await self._sleep(self._backoff.delay_seconds(rounds))

    async def aclose(self) -> None:
        """Close the connections to the store."""
        await self._probe.aclose()
        await self._store.aclose()

    async def _look_up_alone(self, uids: Collection[str]) -> dict[str, AgedStatus]:
        found = await self._directory.look_up(list(uids))
        return {uid: AgedStatus(found.get(uid), 0.0) for uid in uids}

    async def _look_up_for_all(self, began_ms: Mapping[str, int], mark: str) -> dict[str, AgedStatus]:
        """Look up identities at Firebase, and put them into the store, if that can be used."""
        try:
            found = await self._look_up_alone(began_ms)
        except Exception:  # a defect too must not make the others wait for the end of the lease
            await self._if_possible(self._store.fail(began_ms, mark))
            raise
        entries = {uid: write_entry(uid, aged.status) for uid, aged in found.items()}
        await self._if_possible(self._store.tell(entries, began_ms, mark))
        return found

    async def _in_time(self, work: Awaitable[dict[str, Reply]]) -> dict[str, Reply]:
        try:
            async with asyncio.timeout(self._store_seconds):
                return await work
        except TimeoutError:
            raise VerifierUnavailable(f"The store did not answer within {self._store_seconds:g} s.") from None

    async def _if_possible(self, work: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._store_seconds):
                await work
        except TimeoutError:
            self._note_away(VerifierUnavailable(f"The store did not answer within {self._store_seconds:g} s."))
        except VerifierUnavailable as outage:
            self._note_away(outage)

    async def _ask_again(self) -> None:
        """Find out whether a store that could not be used can be used now."""
        try:
            await self._in_time(self._store.ask({"": 0.0}, secrets.token_hex(8)))
        except VerifierUnavailable:
            return
        self.last_error = None
        _log.warning("identity status is shared again")

    def _note_away(self, outage: VerifierUnavailable) -> None:
        if self.last_error is None:
            event = "identity status is not shared"
            message = f"{event}: {outage.reason} This process looks up by itself."
            log_event(_log, logging.WARNING, event, message, error=outage.reason)
            self.last_error, self._probed_at = outage.reason, self._clock()


def status_store(settings: Settings) -> StatusStore | None:
    """Return the store in which processes share the status of identities, or None if each looks up by itself.

    It is the Redis in `settings.status_url`, or else that of spent ids, if they are in a Redis. Raises `SettingsError`.
    """
    url = settings.status_url or settings.replay_url
    scheme = url.partition(":")[0]
    if scheme not in REDIS_SCHEMES:
        return None
    with needed_by_setting(STATUS_URL_VARIABLE if settings.status_url else REPLAY_URL_VARIABLE, scheme, "redis"):
        from mstoken.callee.redis_status import RedisStatusStore
    return RedisStatusStore(url, settings.project_id)


def write_entry(uid: str, status: IdentityStatus | None) -> str:
    """Return the entry of an identity. `status` is None if it does not exist."""
    members: dict[str, Any] = {"uid": uid, "exists": status is not None}
    if status is not None:
        members |= {"disabled": status.disabled, "valid_since": status.valid_since, "created_at": status.created_at}
    return json.dumps(members)


class Entry(NamedTuple):
    """A valid entry: a status, or None if the identity does not exist."""

    status: IdentityStatus | None


def read_entry(uid: str, text: str) -> Entry | None:
    """Return what `write_entry` has written about `uid`, or None if the text is anything else."""
    if len(text) > MAX_ENTRY_CHARACTERS:
        return None
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match members:
        case {"uid": about, "exists": False, **others} if about == uid and not others:
            return Entry(None)
        case {
            "uid": about,
            "exists": True,
            "disabled": bool(disabled),
            "valid_since": int(valid_since),
            "created_at": int(created_at),
            **others,
        } if about == uid and not others and _is_time(valid_since) and _is_time(created_at):
            return Entry(IdentityStatus(disabled, valid_since, created_at))
    return None


def _is_time(value: int) -> bool:
    return not isinstance(value, bool) and 0 <= value < _LARGEST_TIME
