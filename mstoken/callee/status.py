"""The status of identities: whether they exist in Firebase, are disabled, and were revoked since they signed in.

Look-ups count against the daily limit of the Firebase project. So identities share them: a background task looks up
all identities in use at once, and an identity that calls for the first time joins the next look-up.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice

from mstoken.callee.firebase import IdentityDirectory, IdentityStatus
from mstoken.errors import VerifierUnavailable
from mstoken.log_events import log_event
from mstoken.per_loop import PerLoop
from mstoken.per_process import PerProcess
from mstoken.refresher import Refresher
from mstoken.single_flight import SingleFlight

STATUS_TTL_SECONDS = 10.0
"""How long a status is used before it is looked up again."""
REFRESH_SECONDS = 9.0
"""The pause between two look-ups of the identities in use. The rest of the 10 s is for the look-up itself."""
OUTAGE_SECONDS = 15 * 60.0
"""How long the last known status is used while Firebase does not answer."""
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
    ) -> None:
        """`clock` returns seconds and never goes back."""
        self._directory = directory
        self._clock = clock
        self._known: OrderedDict[str, _KnownIdentity] = OrderedDict()
        self._queue: PerLoop[set[str]] = PerLoop(set)
        """The identities that the next look-up of an event loop is for."""
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

    async def is_alive(self, uid: str, auth_time: int, minted_at: int | None = None) -> bool:
        """Return whether a sign-in of `uid` at `auth_time`, in seconds since the epoch, is still valid.

        `minted_at` is when the custom token of a service was minted. Raises what `status` raises.
        """
        status = await self.status(uid)
        return status is not None and status.accepts(auth_time, minted_at)

    async def status(self, uid: str) -> IdentityStatus | None:
        """Return the status of `uid`, at most 10 s old, or None if there is no such identity.

        While Firebase cannot be asked, the status may be up to 15 minutes old. Raises `VerifierUnavailable` if there is
        none.
        """
        while not self._is_fresh(uid) and not self._just_failed(uid):
            self._queue.get().add(uid)
            await self._look_ups.join()
        known = self._last_known(uid)
        if known is None:
            raise VerifierUnavailable("The status of the identity is not known, and Firebase cannot be asked.")
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

    def _last_known(self, uid: str) -> _KnownIdentity | None:
        known = self._known.get(uid)
        return known if known is not None and self._clock() - known.looked_up_at < OUTAGE_SECONDS else None

    def _is_fresh(self, uid: str) -> bool:
        known = self._known.get(uid)
        return known is not None and self._clock() - known.looked_up_at < STATUS_TTL_SECONDS

    def _just_failed(self, uid: str) -> bool:
        """Return whether the last look-up failed so recently that another would only make the caller wait."""
        pause_seconds = STATUS_TTL_SECONDS if self._last_known(uid) else UNKNOWN_PAUSE_SECONDS
        return self._failed_at is not None and self._clock() - self._failed_at < pause_seconds

    async def _refresh(self) -> float:
        """Look up the identities in use, and drop those out of use. Return the seconds until the next time."""
        now = self._clock()
        queue = self._queue.get()
        for uid, known in list(self._known.items()):
            if now - known.used_at >= OUTAGE_SECONDS:
                self._known.pop(uid, None)
            elif now - known.used_at < IN_USE_SECONDS:
                queue.add(uid)
        while queue:
            await self._look_ups.join()
        return REFRESH_SECONDS

    async def _look_up_batch(self) -> None:
        queue = self._queue.get()
        batch = set(islice(queue, LARGEST_LOOK_UP))
        queue.difference_update(batch)
        self._in_flight[id(batch)] = batch
        began_at = self._clock()
        try:
            found = await self._directory.look_up(list(batch))
        except VerifierUnavailable as outage:
            self._note_failure(outage)
        else:
            self._note_success()
            with self._lock.get():
                for uid in batch:
                    self._keep(uid, found.get(uid), began_at)
        finally:
            del self._in_flight[id(batch)]

    def _keep(self, uid: str, status: IdentityStatus | None, looked_up_at: float) -> None:
        before = self._known.pop(uid, None)
        self._known[uid] = _KnownIdentity(status, looked_up_at, before.used_at if before else looked_up_at)
        while len(self._known) > MAX_IDENTITIES:
            self._known.popitem(last=False)

    def _note_failure(self, outage: VerifierUnavailable) -> None:
        if self._failed_at is None:
            event = "identity status cannot be looked up"
            log_event(_log, logging.WARNING, event, f"{event}: {outage.reason}", error=outage.reason)
        self._failed_at, self.last_error = self._clock(), outage.reason
        # Calls that wait go on with the last known status, and queue up again if they need another look-up.
        self._queue.get().clear()

    def _note_success(self) -> None:
        if self._failed_at is not None:
            _log.warning("identity status can be looked up again")
        self._failed_at = self.last_error = None
