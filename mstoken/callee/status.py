"""The status of identities: whether they exist in Firebase, are disabled, and were revoked since they signed in.

Look-ups count against the daily limit of the Firebase project. So identities share them: a background task looks up
all identities in use at once, and an identity that calls for the first time joins the next look-up.

How long a status counts depends on Firebase:

| Firebase | a status counts for |
|---|---|
| answers | 10 s. It is refreshed after 9 s in the background, so no call waits for that |
| has had a look-up for half a second without answering | 15 s |
| has not answered the last look-up, within 5 s | 15 minutes |

No call waits while the last known status counts. Otherwise a call waits for a look-up for at most 5 s, and for at most
1 s if the last look-up failed. So a Firebase that accepts connections and never answers holds up no one.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from mstoken import telemetry
from mstoken.backoff import RANDOM
from mstoken.callee.firebase import IdentityDirectory, IdentityStatus
from mstoken.callee.shared_status import AgedStatus, SharedDirectory, StatusStore
from mstoken.errors import VerifierUnavailable
from mstoken.log_events import log_event
from mstoken.per_loop import PerLoop
from mstoken.per_process import PerProcess
from mstoken.refresher import Refresher
from mstoken.single_flight import SingleFlight
from mstoken.wire import STATUS_MAX_AGE_SECONDS

STATUS_TTL_SECONDS = float(STATUS_MAX_AGE_SECONDS)
"""How long a status counts while Firebase answers."""
REFRESH_SECONDS = 9.0
"""The age at which the status of an identity in use is looked up again. The rest of the 10 s is for the look-up."""
CLOCK_TICK_SECONDS = 0.002
"""More than the difference between two times that are rounded to milliseconds."""
SPREAD_SECONDS = 0.3
"""Maximum random addition to that age where processes share the status: one looks up, and the others find that."""
LATE_REFRESH_SECONDS = 9.5
"""The age at which a call starts the look-up that the background task has not started. The call does not wait."""
SLOW_SECONDS = 0.5
"""After this time without an answer, calls go on with a status that is somewhat older than 10 s."""
LOOK_UP_SECONDS = 5.0
"""Maximum time for a look-up. After that, Firebase counts as not answering."""
WAIT_AFTER_FAILURE_SECONDS = 1.0
"""How long a call waits for a look-up if the one before failed."""
OUTAGE_SECONDS = 15 * 60.0
"""How long the last known status counts while Firebase does not answer."""
LEAST_PAUSE_SECONDS = 1.0
"""The pause between two look-ups in the background, if the first one took long."""
IN_USE_SECONDS = 60.0
"""How long after its last call an identity is still looked up in the background."""
UNKNOWN_PAUSE_SECONDS = 1.0
"""The pause after a failed look-up before an identity without a known status causes another one."""
LARGEST_LOOK_UP = 100
"""The maximum number of identities in one look-up (Firebase, "Bulk retrieve user data")."""
MAX_IDENTITIES = 10_000

_log = logging.getLogger("mstoken.status")


@dataclass(slots=True)
class _KnownIdentity:
    """The result of the last look-up of an identity. `status` is None if the identity does not exist."""

    status: IdentityStatus | None
    looked_up_at: float
    used_at: float


@dataclass(slots=True)
class _LoopState:
    """The look-ups of one event loop.

    `queue` are the identities that the next one is for, with the age that a status of another process may have.
    `asked` are those of the one under way, which began at `began_at`.
    """

    queue: dict[str, float] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    began_at: float | None = None


class StatusCache:
    """The status of the identities in use, for all event loops and threads of a process.

    `open` starts the look-ups in the background. In a loop that has not opened it, and in a forked child, calls start
    them.
    """

    def __init__(
        self,
        directory: IdentityDirectory,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        look_up_seconds: float = LOOK_UP_SECONDS,
        shared: StatusStore | None = None,
        jitter: Callable[[], float] = RANDOM.random,
    ) -> None:
        """`clock` returns seconds and never goes back. A look-up takes at most `look_up_seconds`.

        The processes that have the same store `shared` share their look-ups. `jitter` returns a number from 0 to 1.
        """
        self._directory = directory
        self._shared = SharedDirectory(directory, shared, clock=clock) if shared is not None else None
        self._spread_seconds = SPREAD_SECONDS if shared is not None else 0.0
        self._jitter = jitter
        self._forgotten_at: dict[str, float] = {}
        """When identities were forgotten, within the last 10 s."""
        self._look_up_seconds = look_up_seconds
        self._clock = clock
        self._known: OrderedDict[str, _KnownIdentity] = OrderedDict()
        self._here = PerLoop(_LoopState)
        self._in_flight: dict[int, set[str]] = {}
        """The identities whose status each look-up under way will store."""
        self._lock = PerProcess(threading.Lock)
        """Keeps a look-up from storing what `forget` makes another thread forget at that moment."""
        self._look_ups = SingleFlight(self._look_up_batch, "mstoken identity look-up")
        self._failed_at: float | None = None
        self.last_error: str | None = None
        """Why the last look-up failed; None if it succeeded."""
        self._refresher = Refresher(
            self._refresh,
            name="mstoken identity status",
            log=_log,
            message="identity status was not refreshed",
            sleep=sleep,
        )
        telemetry.observe(telemetry.STATUS_AGE, self, StatusCache._ages)

    async def is_alive(self, uid: str, auth_time: int, minted_at: int | None = None) -> bool:
        """Return whether a sign-in of `uid` at `auth_time`, in seconds since the epoch, is still valid.

        `minted_at` is when the custom token of a service was minted. Raises what `status` raises.
        """
        status = await self.status(uid)
        return status is not None and status.accepts(auth_time, minted_at)

    async def status(self, uid: str) -> IdentityStatus | None:
        """Return the status of `uid`, or None if there is no such identity.

        It is at most 10 s old, and older only while Firebase does not answer: the module says how old. Raises
        `VerifierUnavailable` if there is none that counts.
        """
        known = self._known.get(uid)
        if known is None or not self._counts(known):
            known = await self._wait_for(uid)
        elif self._age_seconds(known) >= LATE_REFRESH_SECONDS:
            self._look_up_soon(uid)
        known.used_at = self._clock()
        return known.status

    def forget(self, uid: str) -> None:
        """Look `uid` up again at its next call. The result of a look-up that is under way is ignored for it.

        Any thread may call this.
        """
        now = self._clock()
        with self._lock.get():
            self._known.pop(uid, None)
            for batch in list(self._in_flight.values()):
                batch.discard(uid)
            # The latest is the last. No process has a status that is older than the others are here.
            self._forgotten_at.pop(uid, None)
            self._forgotten_at[uid] = now
            for other, forgotten_at in list(self._forgotten_at.items()):
                if now - forgotten_at < STATUS_TTL_SECONDS:
                    break
                del self._forgotten_at[other]

    @property
    def sharing_error(self) -> str | None:
        """Why the status is not shared with other processes now; None if it is, or must not be."""
        return self._shared.last_error if self._shared is not None else None

    async def open(self) -> None:
        """Look up the identities in use in the background from now on."""
        self._refresher.start()

    async def aclose(self) -> None:
        """End the background work."""
        await self._refresher.aclose()
        await self._look_ups.aclose()
        if self._shared is not None:
            await self._shared.aclose()

    def _ages(self) -> Iterator[tuple[float, telemetry.Attributes]]:
        now = self._clock()
        in_use = [each for each in list(self._known.values()) if now - each.used_at < IN_USE_SECONDS]
        if in_use:
            yield max(map(self._age_seconds, in_use)), {}

    def _age_seconds(self, known: _KnownIdentity) -> float:
        return self._clock() - known.looked_up_at

    def _counts(self, known: _KnownIdentity) -> bool:
        """Return whether a call may go on with a status. See the table of the module."""
        age_seconds = self._age_seconds(known)
        if age_seconds < STATUS_TTL_SECONDS:
            return True
        if self._failed_within(STATUS_TTL_SECONDS):
            return age_seconds < OUTAGE_SECONDS
        return age_seconds < STATUS_TTL_SECONDS + self._look_up_seconds and self._is_slow()

    def _failed_within(self, seconds: float) -> bool:
        """Return whether the last look-up failed so recently."""
        return self._failed_at is not None and self._clock() - self._failed_at < seconds

    def _is_slow(self) -> bool:
        """Return whether this event loop has waited for a look-up for so long that Firebase may be down."""
        began_at = self._here.get().began_at
        return began_at is not None and self._clock() - began_at >= SLOW_SECONDS

    def _look_up_soon(self, uid: str) -> None:
        """Start a look-up of `uid` in the background, unless one is under way or has just failed."""
        here = self._here.get()
        if uid not in here.asked and not self._failed_within(LATE_REFRESH_SECONDS):
            here.queue.setdefault(uid, REFRESH_SECONDS)
            self._look_ups.start()

    async def _wait_for(self, uid: str) -> _KnownIdentity:
        """Wait for a look-up of `uid`, for a limited time. Raises `VerifierUnavailable` if no status counts then."""
        time = asyncio.get_running_loop().time
        longest_seconds = self._look_up_seconds
        if self._failed_at is not None:
            longest_seconds = min(longest_seconds, WAIT_AFTER_FAILURE_SECONDS)
        ends_at = time() + longest_seconds
        while True:
            known = self._known.get(uid)
            if known is not None and self._counts(known):
                return known
            remaining_seconds = ends_at - time()
            if remaining_seconds <= 0:
                break
            if known is None or self._age_seconds(known) >= OUTAGE_SECONDS:
                if self._failed_within(UNKNOWN_PAUSE_SECONDS):
                    raise VerifierUnavailable("The status of the identity is not known, and Firebase cannot be asked.")
                pause_seconds = remaining_seconds
            else:
                # While the look-up is under way, the last known status may begin to count.
                pause_seconds = min(remaining_seconds, SLOW_SECONDS)
            here = self._here.get()
            if uid not in here.asked:
                here.queue.setdefault(uid, REFRESH_SECONDS)
            done, _ = await asyncio.wait([self._look_ups.start()], timeout=pause_seconds)
            for look_up in done:
                look_up.result()
        if known is not None and self._age_seconds(known) < OUTAGE_SECONDS:
            return known  # This call has waited for as long as Firebase may take.
        raise VerifierUnavailable("The status of the identity is not known, and Firebase does not answer.")

    async def _refresh(self) -> float:
        """Look up the identities in use, and drop those out of use. Return the seconds until the next time."""
        began_at = self._clock()
        queue = self._here.get().queue
        for uid, known in list(self._known.items()):
            if began_at - known.used_at >= OUTAGE_SECONDS:
                self._known.pop(uid, None)
            elif self._is_in_use(known, began_at) and began_at - known.looked_up_at >= REFRESH_SECONDS / 2:
                queue[uid] = REFRESH_SECONDS / 2
        while queue:
            await self._look_ups.join()
        now = self._clock()
        due_at = [known.looked_up_at + REFRESH_SECONDS for known in self._known.values() if self._is_in_use(known, now)]
        pause_seconds = min(due_at, default=now + REFRESH_SECONDS) - now
        if pause_seconds <= 0:
            # Firebase does not answer. A look-up that took long does not delay the next one, so that an outage is never
            # forgotten between them.
            pause_seconds = max(LEAST_PAUSE_SECONDS, REFRESH_SECONDS - (now - began_at))
        return pause_seconds + self._spread_seconds * self._jitter()

    @staticmethod
    def _is_in_use(known: _KnownIdentity, now: float) -> bool:
        return now - known.used_at < IN_USE_SECONDS

    async def _look_up_batch(self) -> None:
        here = self._here.get()
        max_ages = dict(islice(here.queue.items(), LARGEST_LOOK_UP))
        batch = set(max_ages)
        began_at = self._clock()
        for uid in batch:
            del here.queue[uid]
            # A status from before the log-out of an identity does not count.
            if uid in self._forgotten_at:
                since_then = began_at - self._forgotten_at[uid] - CLOCK_TICK_SECONDS
                max_ages[uid] = min(max_ages[uid], since_then)
        here.asked, here.began_at = batch, began_at
        with self._lock.get():
            self._in_flight[id(batch)] = batch
        try:
            async with asyncio.timeout(self._look_up_seconds):
                found = await self._look_up(max_ages)
        except TimeoutError:
            self._note_failure(f"Firebase did not answer within {self._look_up_seconds:g} s.")
        except VerifierUnavailable as outage:
            self._note_failure(outage.reason)
        else:
            self._note_success()
            with self._lock.get():
                for uid in batch:
                    self._keep(uid, found[uid].status, began_at - found[uid].age_seconds)
        finally:
            here.asked, here.began_at = set(), None
            with self._lock.get():
                del self._in_flight[id(batch)]

    async def _look_up(self, max_ages: dict[str, float]) -> dict[str, AgedStatus]:
        if self._shared is not None:
            return await self._shared.look_up(max_ages)
        found = await self._directory.look_up(list(max_ages))
        return {uid: AgedStatus(found.get(uid), 0.0) for uid in max_ages}

    def _keep(self, uid: str, status: IdentityStatus | None, looked_up_at: float) -> None:
        before = self._known.get(uid)
        if before is not None and before.looked_up_at > looked_up_at:
            return
        self._known.pop(uid, None)
        self._known[uid] = _KnownIdentity(status, looked_up_at, before.used_at if before else self._clock())
        while len(self._known) > MAX_IDENTITIES:
            self._known.popitem(last=False)

    def _note_failure(self, reason: str) -> None:
        if self._failed_at is None:
            event = "identity status cannot be looked up"
            log_event(_log, logging.WARNING, event, f"{event}: {reason}", error=reason)
        self._failed_at, self.last_error = self._clock(), reason
        # Calls that wait go on with the last known status, and queue up again if they need another look-up.
        self._here.get().queue.clear()

    def _note_success(self) -> None:
        if self._failed_at is not None:
            _log.warning("identity status can be looked up again")
        self._failed_at = self.last_error = None
