"""Fresh tokens for one audience, obtained ahead of need, so that calls rarely wait for Firebase.

The number of tokens follows the base-stock rule of inventory theory: each call that takes a token starts the sign-in
for another, and tokens in stock and under way together cover the calls that come during one sign-in. Calls come at
random (Poisson), so their number during a sign-in varies by the square root of its mean; four times that is the
reserve. At a steady rate, fewer than one call in a thousand waits then, and there is about one sign-in for each call.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mstoken.backoff import RANDOM, Backoff
from mstoken.wire import FRESH_TOKEN_MAX_AGE_SECONDS, STATUS_MAX_AGE_SECONDS

USABLE_SECONDS = FRESH_TOKEN_MAX_AGE_SECONDS / 2
"""Maximum age of a token that is handed out. The other half of its time is for the call."""
RECENT_CALLS = 1_024
"""The number of calls from which the call rate is computed. It limits the rate to this many calls per second."""
MAX_SIGN_INS = 128
"""Maximum number of sign-ins ahead of need at the same time.

At 120 ms for each, it is enough for a thousand calls a second, and Firebase allows a project 750 sign-ins a second.
"""
MAX_STOCK = 1_000
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

REVOKED_PAUSE_SECONDS = float(STATUS_MAX_AGE_SECONDS)
"""Minimum seconds between two times at which the stock is thrown away.

A callee that does not know yet that an identity is enabled again refuses new tokens too.
"""
_RESERVE_DEVIATIONS = 4.0
_SHORTEST_SPAN_SECONDS = 1.0
"""The call rate is computed over at least this time, so that a burst does not count as a high rate."""
_FIRST_SIGN_IN_SECONDS = 0.2
"""How long a sign-in is assumed to take before one has been measured."""
_NEWEST_WEIGHT = 0.2
"""The weight of the newest sign-in in the moving average of how long sign-ins take."""


@dataclass(frozen=True, slots=True)
class _Token:
    token: str
    signed_in_at: float


class FreshTokens:
    """A stock of fresh tokens, each of which is handed out once. Any number of threads may use it.

    It does not sign in itself: `start_sign_ins` tells its user how many sign-ins to start.
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = RANDOM.random) -> None:
        """`clock` returns seconds since the epoch, `jitter` a number from 0 to 1."""
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: deque[_Token] = deque()
        self._taken_at: deque[float] = deque(maxlen=RECENT_CALLS)
        self._under_way = 0
        self._sign_in_seconds = _FIRST_SIGN_IN_SECONDS
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter)
        self._failures = 0
        self._paused_from = self._paused_until = 0.0
        self._revoked_at: float | None = None
        """When the stock was last thrown away."""

    def take(self) -> str | None:
        """Return a token that no other call gets, or None if the stock is empty. Count the call in both cases."""
        with self._lock:
            now = self._clock()
            self._taken_at.append(now)
            self._drop_old(now)
            return self._tokens.popleft().token if self._tokens else None

    def in_stock(self) -> int:
        """Return the number of tokens that `take` can return now."""
        with self._lock:
            self._drop_old(self._clock())
            return len(self._tokens)

    def start_sign_ins(self) -> int:
        """Return the number of sign-ins to start now. Each must end with `put` or `fail`.

        Return 0 while the pause after a failed sign-in lasts.
        """
        with self._lock:
            now = self._clock()
            if self._is_paused(now):
                return 0
            self._drop_old(now)
            # After a failure, one sign-in tries whether Firebase answers again.
            limit = 1 if self._failures else MAX_SIGN_INS
            missing = self._target(now) - len(self._tokens) - self._under_way
            number = max(0, min(missing, limit - self._under_way))
            self._under_way += number
            return number

    def put(self, token: str, *, signed_in_at: float, took_seconds: float) -> None:
        """Add the token of a sign-in that began at `signed_in_at`. End the pause, if there is one."""
        with self._lock:
            self._under_way -= 1
            self._failures, self._paused_until = 0, 0.0
            # If the clock was set back during the sign-in, the difference is negative.
            self._sign_in_seconds += _NEWEST_WEIGHT * (max(0.0, took_seconds) - self._sign_in_seconds)
            if not self._is_revoked(signed_in_at):
                self._tokens.append(_Token(token, signed_in_at))

    def fail(self, *, retry_after_seconds: float) -> None:
        """Note that a sign-in failed. Pause for a time that grows with each failure, or for as long as asked."""
        with self._lock:
            self._under_way -= 1
            now = self._clock()
            if self._is_paused(now):
                return  # This sign-in began before the pause, so it belongs to the failure that caused the pause.
            self._failures += 1
            self._paused_from = now
            self._paused_until = now + max(self._backoff.delay_seconds(self._failures), retry_after_seconds)

    def revoked(self, minted_at: float) -> bool:
        """Throw the stock away, because the callee refused a token that was minted at `minted_at` as revoked.

        Return whether the callee may accept a new token. Return False if the refused token is itself newer than the
        last revocation, which was a short time ago.
        """
        with self._lock:
            if self._is_revoked(minted_at):
                return True
            now = self._clock()
            # A negative time means that the clock was set back, so the true time is unknown.
            if self._revoked_at is not None and 0 <= now - self._revoked_at < REVOKED_PAUSE_SECONDS:
                return False
            self._revoked_at = now
            self._tokens.clear()
            return True

    def _is_paused(self, now: float) -> bool:
        # Before its beginning, the clock was set back, and how long the pause has lasted is unknown.
        return self._paused_from <= now < self._paused_until

    def _is_revoked(self, minted_at: float) -> bool:
        """Return whether a token that was minted then is older than the last revocation."""
        return self._revoked_at is not None and minted_at < self._revoked_at <= self._clock()

    def _target(self, now: float) -> int:
        """Return how many tokens to have, in stock and under way: no more than calls use while they are fresh."""
        rate = self._calls_per_second(now)
        during_sign_in = rate * self._sign_in_seconds
        base_stock = math.ceil(during_sign_in + _RESERVE_DEVIATIONS * math.sqrt(during_sign_in) + 1)
        return int(min(base_stock, rate * USABLE_SECONDS, MAX_STOCK))

    def _calls_per_second(self, now: float) -> float:
        """Return the rate of the latest calls. It is 0 for a single call, so a rare caller stocks nothing."""
        # A negative age means that the clock was set back, so the true age is unknown.
        while self._taken_at and not 0 <= now - self._taken_at[0] <= USABLE_SECONDS:
            self._taken_at.popleft()
        if len(self._taken_at) < 2:
            return 0.0
        return (len(self._taken_at) - 1) / max(now - self._taken_at[0], _SHORTEST_SPAN_SECONDS)

    def _drop_old(self, now: float) -> None:
        # A negative age means that the clock was set back, so the true age is unknown.
        while self._tokens and not 0 <= now - self._tokens[0].signed_in_at < USABLE_SECONDS:
            self._tokens.popleft()
