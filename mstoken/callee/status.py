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
from mstoken.callee.firebase import IdentityDirectory, IdentityStatus
from mstoken.errors import VerifierUnavailable
from mstoken.log_events import log_event
from mstoken.per_loop import PerLoop
from mstoken.per_process import PerProcess
from mstoken.refresher import Refresher
from mstoken.single_flight import SingleFlight

STATUS_TTL_SECONDS = 10.0
"""How long a status counts while Firebase answers."""
REFRESH_SECONDS = 9.0
"""The age at which the status of an identity in use is looked up again. The rest of the 10 s is for the look-up."""
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

    `queue` are the identities that the next one is for, `asked` those of the one under way, which began at `began_at`.
    """

    queue: set[str] = field(default_factory=set)
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
    ) -> None:
        """`clock` returns seconds and never goes back. A look-up takes at most `look_up_seconds`."""
        self._directory = directory
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
        with self._lock.get():
            self._known.pop(uid, None)
            for batch in list(self._in_flight.values()):
                batch.discard(uid)

    async def open(self) -> None:
        """Look up the identities in use in the background from now on."""
        self._refresher.start()

    async def aclose(self) -> None:
        """End the background work."""
        await self._refresher.aclose()
        await self._look_ups.aclose()

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
            here.queue.add(uid)
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
                here.queue.add(uid)
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
            elif began_at - known.used_at < IN_USE_SECONDS:
                queue.add(uid)
        while queue:
            await self._look_ups.join()
        # A look-up that took long does not delay the next one, so that an outage is never forgotten between them.
        return max(LEAST_PAUSE_SECONDS, REFRESH_SECONDS - (self._clock() - began_at))

    async def _look_up_batch(self) -> None:
        here = self._here.get()
        batch = set(islice(here.queue, LARGEST_LOOK_UP))
        here.queue.difference_update(batch)
        began_at = self._clock()
        here.asked, here.began_at = batch, began_at
        with self._lock.get():
            self._in_flight[id(batch)] = batch
        try:
            async with asyncio.timeout(self._look_up_seconds):
                found = await self._directory.look_up(list(batch))
        except TimeoutError:
            self._note_failure(f"Firebase did not answer within {self._look_up_seconds:g} s.")
        except VerifierUnavailable as outage:
            self._note_failure(outage.reason)
        else:
            self._note_success()
            with self._lock.get():
                for uid in batch:
                    self._keep(uid, found.get(uid), began_at)
        finally:
            here.asked, here.began_at = set(), None
            with self._lock.get():
                del self._in_flight[id(batch)]

    def _keep(self, uid: str, status: IdentityStatus | None, looked_up_at: float) -> None:
        before = self._known.pop(uid, None)
        self._known[uid] = _KnownIdentity(status, looked_up_at, before.used_at if before else looked_up_at)
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
