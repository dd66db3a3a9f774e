"""Is the identity alive: known to Firebase, not disabled, not revoked since it signed in.

Look-ups count against the daily limit of the Firebase project, so identities share them: a background task asks for
all that are in use at once, and one that calls for the first time joins the next look-up.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice

from mstoken.callee.firebase import Firebase, IdentityStatus
from mstoken.errors import VerifierUnavailable

FRESH_SECONDS = 10.0
"""How long a status counts without being asked for again."""
REFRESH_SECONDS = 9.0
"""How often the identities in use are looked up; the rest of the 10 s is for the look-up itself."""
OUTAGE_SECONDS = 15 * 60.0
"""How long the last known status counts while Firebase cannot be asked."""
IN_USE_SECONDS = 60.0
"""How long after its last call an identity is kept fresh."""
UNKNOWN_PAUSE_SECONDS = 1.0
"""How long after a failed look-up nobody asks for an identity that was never seen."""
LARGEST_LOOK_UP = 100
"""How many identities one look-up may name (Firebase, "Bulk retrieve user data")."""
MAX_IDENTITIES = 10_000

_log = logging.getLogger("mstoken.status")


@dataclass(slots=True)
class _Known:
    status: IdentityStatus | None
    asked_at: float
    used_at: float


class StatusCache:
    """The status of the identities in use. One event loop uses it; `open` starts the background look-ups."""

    def __init__(
        self,
        firebase: Firebase,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`clock` gives seconds and never goes back."""
        self._firebase = firebase
        self._clock = clock
        self._sleep = sleep
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._wanted: set[str] = set()
        self._asked: set[str] = set()
        self._looking_up: asyncio.Task[None] | None = None
        self._failed_at: float | None = None
        self.fault: str | None = None
        """What kept the last look-up from succeeding; None if it did."""
        self._refreshing: asyncio.Task[None] | None = None

    async def is_alive(self, uid: str, auth_time: int) -> bool:
        """Whether a sign-in of `uid` at `auth_time` (seconds since the epoch) still counts.

        Raises `VerifierUnavailable` where Firebase cannot be asked and has not answered for 15 minutes.
        """
        while not self._is_fresh(uid) and not self._just_failed(uid):
            self._wanted.add(uid)
            await self._look_up()
        known = self._last_known(uid)
        if known is None:
            raise VerifierUnavailable("The status of the identity is not known, and Firebase cannot be asked.")
        known.used_at = self._clock()
        status = known.status
        return status is not None and not status.disabled and auth_time >= status.valid_since

    def forget(self, uid: str) -> None:
        """Asks Firebase again the next time that `uid` calls; an answer that is on its way does not count."""
        self._known.pop(uid, None)
        self._asked.discard(uid)

    async def open(self) -> None:
        """Keeps the identities in use fresh from now on."""
        self._refreshing = asyncio.create_task(self._refresh(), name="mstoken identity status")

    async def aclose(self) -> None:
        """Ends the background work."""
        tasks = [task for task in (self._refreshing, self._looking_up) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._refreshing = self._looking_up = None

    def _last_known(self, uid: str) -> _Known | None:
        known = self._known.get(uid)
        return known if known is not None and self._clock() - known.asked_at < OUTAGE_SECONDS else None

    def _is_fresh(self, uid: str) -> bool:
        known = self._known.get(uid)
        return known is not None and self._clock() - known.asked_at < FRESH_SECONDS

    def _just_failed(self, uid: str) -> bool:
        """Whether asking now would only make the caller wait: Firebase did not answer a moment ago."""
        pause_seconds = FRESH_SECONDS if self._last_known(uid) else UNKNOWN_PAUSE_SECONDS
        return self._failed_at is not None and self._clock() - self._failed_at < pause_seconds

    async def _refresh(self) -> None:
        while True:
            await self._sleep(REFRESH_SECONDS)
            now = self._clock()
            for uid in [uid for uid, known in self._known.items() if now - known.used_at >= OUTAGE_SECONDS]:
                del self._known[uid]
            self._wanted.update(uid for uid, known in self._known.items() if now - known.used_at < IN_USE_SECONDS)
            try:
                while self._wanted:
                    await self._look_up()
            except Exception:  # A defect here must not end the refreshing.
                self._wanted.clear()
                _log.exception("identity status was not refreshed")

    async def _look_up(self) -> None:
        """Returns when the look-up under way, or else a new one for those who are wanted, has ended."""
        if self._looking_up is None:
            self._looking_up = asyncio.create_task(self._look_up_wanted(), name="mstoken identity look-up")
        await asyncio.shield(self._looking_up)

    async def _look_up_wanted(self) -> None:
        batch = list(islice(self._wanted, LARGEST_LOOK_UP))
        self._wanted.difference_update(batch)
        self._asked.update(batch)
        asked_at = self._clock()
        try:
            found = await self._firebase.look_up(batch)
        except VerifierUnavailable as outage:
            self._note_failure(outage)
        else:
            self._note_success()
            for uid in self._asked & set(batch):
                self._keep(uid, found.get(uid), asked_at)
        finally:
            self._asked.clear()
            self._looking_up = None

    def _keep(self, uid: str, status: IdentityStatus | None, asked_at: float) -> None:
        before = self._known.pop(uid, None)
        self._known[uid] = _Known(status, asked_at, before.used_at if before else asked_at)
        while len(self._known) > MAX_IDENTITIES:
            self._known.popitem(last=False)

    def _note_failure(self, outage: VerifierUnavailable) -> None:
        """Lets everybody who waits go on with what is known; the next look-up will be for those who still want it."""
        if self._failed_at is None:
            _log.warning("identity status cannot be looked up", extra={"error": outage.reason})
        self._failed_at, self.fault = self._clock(), outage.reason
        self._wanted.clear()

    def _note_success(self) -> None:
        if self._failed_at is not None:
            _log.warning("identity status can be looked up again")
        self._failed_at = self.fault = None
