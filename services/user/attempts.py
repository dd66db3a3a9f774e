"""How often someone may try to log in, sign up or refresh a session.

A stranger must not be able to try many passwords, and must not be able to keep the owner of an account out. So attempts
are slowed down, never stopped: after a number of free attempts each one must wait longer than the one before. And a
network from which an account was logged in to has a count of its own for this account, which strangers elsewhere cannot
use up.

| attempts | free | in | then a pause of |
|---|---|---|---|
| log-ins to an account from one network | 10 | 24 hours | 30 seconds to 15 minutes |
| log-ins to an account from all networks that it does not know | 100 | 24 hours | 1 minute to 1 hour |
| log-ins from one network to accounts that do not know it | 100 | 15 minutes | 30 seconds to 5 minutes |
| sign-ups from one network | 30 | 1 hour | 1 to 10 minutes |
| refreshes of one session | 10 | 5 minutes | 30 seconds to 5 minutes |
| refreshes from one network | 300 | 15 minutes | 10 seconds to 1 minute |

The numbers stay below those of Firebase, which sees one address for all customers, that of this service. Only failed
log-ins count; a sign-up counts as a log-in too, so that it is not a cheaper way to find out who has an account.

Source: NIST SP 800-63B, section 5.2.2 (rate limiting): at most 100 failures on an account, waits of 30 seconds to an
hour, and addresses from which the account was logged in to before. Firebase, "Firebase Authentication Limits".
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.common.background import BATCH, in_batches
from services.common.backlog import LATER, Backlog
from services.common.ids import new_id
from services.common.late_writes import LateWrites
from services.common.times import utc_now
from services.user.errors import TooManyAttempts

if TYPE_CHECKING:
    from services.user.store import AttemptStore

_MINUTE, _HOUR, _DAY = 60, 60 * 60, 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of attempts: `free` of them in `window_seconds`, and then pauses that double.

    The pauses begin with `first_pause_seconds` and grow up to `longest_pause_seconds`.
    """

    free: int
    window_seconds: int
    first_pause_seconds: int
    longest_pause_seconds: int

    def wait_seconds(self, count: int, latest: int, now: int) -> int:
        """Return the seconds until the next attempt is allowed, or 0.

        `count` is how many attempts there were in the window, and `latest` is the time of the last one.
        """
        if count < self.free:
            return 0
        doublings = min(count - self.free, 32)
        pause_seconds = min(self.longest_pause_seconds, self.first_pause_seconds << doublings)
        return max(0, latest + pause_seconds - now)


LOG_INS_PER_ACCOUNT_AND_NETWORK = Limit(10, _DAY, 30, 15 * _MINUTE)
LOG_INS_PER_ACCOUNT = Limit(100, _DAY, _MINUTE, _HOUR)
LOG_INS_PER_NETWORK = Limit(100, 15 * _MINUTE, 30, 5 * _MINUTE)
SIGN_UPS_PER_NETWORK = Limit(30, _HOUR, _MINUTE, 10 * _MINUTE)
REFRESHES_PER_SESSION = Limit(10, 5 * _MINUTE, 30, 5 * _MINUTE)
REFRESHES_PER_NETWORK = Limit(300, 15 * _MINUTE, 10, _MINUTE)

MAX_KNOWN_NETWORKS = 10
"""How many networks an account knows: the latest ones from which it was logged in to."""
KNOWN_NETWORK_SECONDS = 90 * _DAY
"""How long an account knows a network after the last log-in from it, in seconds."""
FORGET_SECONDS = 60.0
"""Seconds between two searches of a process for what does not count any more."""
CLOCK_DIFFERENCE_SECONDS = 60
"""By how much the clocks of two processes differ at most, in seconds. An attempt that is further in the future counts,
but no one waits until then: it was made while a clock was wrong."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was counted, at `at`, in seconds since the epoch.

    `account` and `subject` are set for log-ins: the account, and the account together with the network.
    """

    id: str
    at: int
    account: str = ""
    subject: str = ""


def _seconds_now() -> float:
    return utc_now().timestamp()


class Attempts:
    """Counts attempts in all processes, and refuses those that must wait. Every call raises `DatabaseUnavailable`.

    An attempt is counted before it is made, so that many concurrent ones cannot exceed a limit. E-mail addresses,
    networks and refresh tokens are stored as hashes only. (Who reads the database can still try all IPv4 addresses.)
    """

    def __init__(
        self, store: "AttemptStore", late_writes: LateWrites, *, clock: Callable[[], float] = _seconds_now
    ) -> None:
        """`clock` returns seconds since the epoch. `late_writes` remove attempts when the database is back."""
        self._store = store
        self._late_writes = late_writes
        self._clock = clock

    async def log_in(self, email: str, network: str) -> Attempt:
        """Count an attempt to log in as `email` from `network`, and return it.

        Raises `TooManyAttempts` if it must wait, also if there is no such account.
        """
        now = int(self._clock())
        account, subject = _hash("account", email), _hash("account and network", email, network)
        limits = {subject: LOG_INS_PER_ACCOUNT_AND_NETWORK}
        if not await self._store.knows_network(account, subject, since=now - KNOWN_NETWORK_SECONDS):
            limits[account] = LOG_INS_PER_ACCOUNT
            limits[_hash("network", network)] = LOG_INS_PER_NETWORK
        return await self._add(Attempt(new_id(), now, account, subject), limits)

    async def sign_up(self, email: str, network: str) -> Attempt:
        """Count a sign-up as `email` from `network`, and an attempt to log in. Return the latter.

        Raises `TooManyAttempts` if it must wait.
        """
        limits = {_hash("sign-ups", network): SIGN_UPS_PER_NETWORK}
        await self._add(Attempt(new_id(), int(self._clock())), limits)
        return await self.log_in(email, network)

    async def refresh(self, refresh_token: str, network: str) -> Attempt:
        """Count a refresh of the session of `refresh_token` from `network`, and return it.

        Raises `TooManyAttempts` if it must wait.
        """
        limits = {
            _hash("session", refresh_token): REFRESHES_PER_SESSION,
            _hash("refreshes", network): REFRESHES_PER_NETWORK,
        }
        return await self._add(Attempt(new_id(), int(self._clock())), limits)

    async def succeeded(self, attempt: Attempt) -> None:
        """Take note of a log-in that has succeeded: the account knows the network.

        Attempts on the account from this network do not count any more, those from other networks do.
        """
        await self._store.log_in_succeeded(
            attempt, keep_networks=MAX_KNOWN_NETWORKS, since=attempt.at - KNOWN_NETWORK_SECONDS
        )

    async def undecided(self, attempt: Attempt) -> None:
        """Remove an attempt that Firebase has not decided about, because it was unavailable or overloaded."""
        await self._late_writes.make(lambda: self._store.remove(attempt), useful_seconds=_DAY)

    async def forget(self) -> None:
        """Delete attempts that do not count any more, and networks that accounts do not know any more."""
        now = int(self._clock())
        await in_batches(lambda: self._store.forget(before=now, limit=BATCH))
        await in_batches(lambda: self._store.forget_networks(before=now - KNOWN_NETWORK_SECONDS, limit=BATCH))

    async def unforgotten(self) -> Backlog:
        """Measure how many attempts do not count any more, and since when."""
        now = int(self._clock())
        waiting = await self._store.forgettable(before=now)
        return Backlog.of("old attempts", waiting, datetime.fromtimestamp(now, UTC), LATER)

    async def _add(self, attempt: Attempt, limits: Mapping[str, Limit]) -> Attempt:
        wait_seconds = await self._store.add(attempt, limits)
        if wait_seconds > 0:
            raise TooManyAttempts(retry_after_seconds=wait_seconds)
        return attempt


def _hash(kind: str, *parts: str) -> str:
    """Return what a limit counts by. The hash of a mistyped address does not tell whose it is."""
    return hashlib.sha256("\0".join((kind, *parts)).encode()).hexdigest()
