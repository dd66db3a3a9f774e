"""Fresh tokens, signed in for ahead of need, so that calls need not wait for Firebase.

How many to have is the base-stock rule of inventories: each token that is taken orders another, and those in hand and
on order together cover what may be taken while an order is on its way. Calls come at random, so their number in that
time varies by the square root of its mean (Poisson); three times that is in reserve.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mstoken.wire import FRESH_TOKEN_MAX_AGE_SECONDS

USABLE_SECONDS = FRESH_TOKEN_MAX_AGE_SECONDS / 2
"""How old a token in stock may be when it is handed out: half of its age is the call's own."""
RECENT_CALLS = 256
"""From how many of the latest calls the rate of calls is read; within a second, so it is the highest rate, too."""
MAX_ON_ORDER = 64
"""How many sign-ins ahead of need may run at once."""
MAX_STOCK = 1_000
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

_RESERVE = 3.0
_SHORTEST_SPAN_SECONDS = 1.0
_SIGN_IN_SECONDS = 0.2
_WEIGHT = 0.2
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class _Token:
    token: str
    signed_in_at: float


class FreshTokens:
    """Fresh tokens for one audience, each handed out once. For any number of threads; signs nobody in itself.

    `clock` gives seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: deque[_Token] = deque()
        self._taken_at: deque[float] = deque(maxlen=RECENT_CALLS)
        self._on_order = 0
        self._sign_in_seconds = _SIGN_IN_SECONDS
        self._failures = 0
        self._paused_until = 0.0

    def take(self) -> str | None:
        """A token, and never again the same; None where there is none. Counts as a call either way."""
        with self._lock:
            now = self._clock()
            self._taken_at.append(now)
            self._drop_old(now)
            return self._tokens.popleft().token if self._tokens else None

    def order(self) -> int:
        """How many sign-ins to begin now; each ends with `put` or `fail`. None while a failure is waited out."""
        with self._lock:
            now = self._clock()
            if now < self._paused_until:
                return 0
            self._drop_old(now)
            # After a failure one sign-in tries whether there is a way again.
            most = 1 if self._failures else MAX_ON_ORDER
            missing = self._wanted(now) - len(self._tokens) - self._on_order
            number = max(0, min(missing, most - self._on_order))
            self._on_order += number
            return number

    def put(self, token: str, *, signed_in_at: float, took_seconds: float) -> None:
        """A token that was on order, signed in for at `signed_in_at`."""
        with self._lock:
            self._on_order -= 1
            self._failures, self._paused_until = 0, 0.0
            # A clock that was set back makes it less than nothing.
            self._sign_in_seconds += _WEIGHT * (max(0.0, took_seconds) - self._sign_in_seconds)
            self._tokens.append(_Token(token, signed_in_at))

    def fail(self, *, retry_after_seconds: float) -> None:
        """A sign-in that was on order failed. No others are begun for as long as asked, or for a growing time."""
        with self._lock:
            self._on_order -= 1
            now = self._clock()
            if now < self._paused_until:
                return  # Begun before the pause: it says nothing new.
            pause_seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, _DOUBLINGS))
            self._failures += 1
            self._paused_until = now + max(pause_seconds, retry_after_seconds)

    def _wanted(self, now: float) -> int:
        """How many tokens to have, in hand and on order: no more than will be used while they are fresh."""
        rate = self._calls_per_second(now)
        meanwhile = rate * self._sign_in_seconds
        return int(min(math.ceil(meanwhile + _RESERVE * math.sqrt(meanwhile) + 1), rate * USABLE_SECONDS, MAX_STOCK))

    def _calls_per_second(self, now: float) -> float:
        """The rate of the latest calls; one call alone has none, so that a rare caller stocks nothing."""
        while self._taken_at and now - self._taken_at[0] > USABLE_SECONDS:
            self._taken_at.popleft()
        if len(self._taken_at) < 2:
            return 0.0
        return (len(self._taken_at) - 1) / max(now - self._taken_at[0], _SHORTEST_SPAN_SECONDS)

    def _drop_old(self, now: float) -> None:
        # One from the future is of a time before the clock was set back, and of no known age.
        while self._tokens and not 0 <= now - self._tokens[0].signed_in_at < USABLE_SECONDS:
            self._tokens.popleft()
