"""Is the identity alive: known to Firebase, not disabled, not revoked since it signed in."""

import time
from collections import OrderedDict
from collections.abc import Callable

from mstoken.callee.firebase import Firebase, IdentityStatus

STATUS_TTL_SECONDS = 10.0
MAX_IDENTITIES = 10_000


class StatusCache:
    """The status of the identities in use, asked of Firebase at most once in 10 s for each."""

    def __init__(self, firebase: Firebase, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds and never goes back."""
        self._firebase = firebase
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, IdentityStatus | None]] = OrderedDict()

    async def is_alive(self, uid: str, auth_time: int) -> bool:
        """Whether a sign-in of `uid` at `auth_time` (seconds since the epoch) still counts.

        Raises `VerifierUnavailable` where Firebase cannot be asked.
        """
        status = await self._status(uid)
        return status is not None and not status.disabled and auth_time >= status.valid_since

    def forget(self, uid: str) -> None:
        """Asks Firebase again the next time that `uid` calls."""
        self._known.pop(uid, None)

    async def _status(self, uid: str) -> IdentityStatus | None:
        read_at, status = self._known.get(uid, (float("-inf"), None))
        if self._clock() - read_at < STATUS_TTL_SECONDS:
            return status
        asked_at = self._clock()
        status = (await self._firebase.look_up([uid])).get(uid)
        self._known[uid] = (asked_at, status)
        self._known.move_to_end(uid)
        while len(self._known) > MAX_IDENTITIES:
            self._known.popitem(last=False)
        return status
