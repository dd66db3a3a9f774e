"""A token that is bound to this process's key: one sign-in an hour for each audience, which no call waits for."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from mstoken import telemetry
from mstoken.backoff import RANDOM, Backoff
from mstoken.errors import SignInError
from mstoken.log_events import log_event
from mstoken.refresher import Refresher
from mstoken.single_flight import SingleFlight
from mstoken.wire import ID_TOKEN_LIFETIME_SECONDS, STATUS_MAX_AGE_SECONDS

RENEWAL_AGE_SECONDS = 53 * 60.0
"""Age at which a token is renewed.

Calls must go on for five minutes at least without Firebase, whenever it fails. The two other minutes of the hour are
for the spread, for a sign-in, and for the pause after an attempt that failed by chance.
"""
RENEWAL_SPREAD_SECONDS = 60.0
"""Maximum random addition to that age, so that processes that started together do not all renew at once."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
MIN_REFUSED_AGE_SECONDS = 60.0
"""Minimum age of a token that is replaced because a callee refused it. A newer one would be refused just as well."""
MIN_REVOKED_AGE_SECONDS = float(STATUS_MAX_AGE_SECONDS)
"""The same if the callee said that the identity is disabled. It may not know yet that the identity is enabled again."""

_NOT_RENEWED = "a service token could not be renewed"

_log = logging.getLogger("mstoken.tokens")


@dataclass(frozen=True, slots=True)
class _SignedIn:
    token: str
    signed_in_at: float
    renew_at: float
    expires_at: float


class BoundToken:
    """The bound token for one audience. After the first sign-in it is renewed for as long as the event loop runs.

    `current` and `refused` may be called from any thread, `get` only from the background loop.
    """

    def __init__(
        self,
        audience: str,
        sign_in: Callable[[], Coroutine[Any, Any, str]],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        jitter: Callable[[], float] = RANDOM.random,
    ) -> None:
        """`sign_in` returns a new token or raises `SignInError`. `clock` returns seconds since the epoch.

        `jitter` returns a number from 0 to 1.
        """
        self._audience = audience
        self._sign_in = sign_in
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._signed_in: _SignedIn | None = None
        self._flight = SingleFlight(self._sign_in_and_keep, f"mstoken sign-in for {audience}")
        self._renewal: Refresher | None = None
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter)
        self._failures = 0
        self._retry_at = 0.0

    def current(self) -> str | None:
        """Return the token, or None if there is none or it has expired."""
        kept = self._signed_in
        return kept.token if kept is not None and self._clock() < kept.expires_at else None

    async def get(self) -> str:
        """Return the token. If there is none, sign in, once for all who wait. Raise `SignInError`."""
        return self.current() or await self._flight.join()

    def refused(self, token: str, *, is_revoked: bool) -> bool:
        """Forget `token`, which the audience no longer accepts, unless it is new or has been replaced already.

        Return whether the audience may accept another token. With `is_revoked`, it said that the identity is disabled.
        """
        kept = self._signed_in
        if kept is None or kept.token != token:
            return True
        min_age_seconds = MIN_REVOKED_AGE_SECONDS if is_revoked else MIN_REFUSED_AGE_SECONDS
        # A negative age means that the clock was set back, so the true age is unknown.
        if 0 <= self._clock() - kept.signed_in_at < min_age_seconds:
            return False
        self._signed_in = None
        return True

    async def _sign_in_and_keep(self) -> str:
        # The time before the sign-in: then the token expires here no later than at the callee.
        signed_in_at = self._clock()
        token = await self._sign_in()
        renew_at = signed_in_at + RENEWAL_AGE_SECONDS + self._jitter() * RENEWAL_SPREAD_SECONDS
        self._signed_in = _SignedIn(token, signed_in_at, renew_at, signed_in_at + ID_TOKEN_LIFETIME_SECONDS)
        self._failures, self._retry_at = 0, 0.0
        if self._renewal is None:
            name = f"mstoken renewal for {self._audience}"
            self._renewal = Refresher(self._renew_if_due, name=name, log=_log, message=_NOT_RENEWED, sleep=self._sleep)
            self._renewal.start()
        return token

    async def _renew_if_due(self) -> float:
        """Sign in if the token is due for renewal. Return the seconds until it is due, or due again."""
        if self._seconds_until_due() <= 0:
            try:
                await self._flight.join()
            except SignInError as error:
                self._note_failure(error)
                code = telemetry.error_type(error)
                telemetry.count(telemetry.RENEWALS, lambda: self._attributes() | {telemetry.ERROR_TYPE: code})
            else:
                telemetry.count(telemetry.RENEWALS, self._attributes)
        return max(0.0, self._seconds_until_due())

    def _attributes(self) -> dict[str, str]:
        return {telemetry.AUDIENCE: self._audience}

    def _seconds_until_due(self) -> float:
        renew_at = self._signed_in.renew_at if self._signed_in is not None else 0.0
        return max(renew_at, self._retry_at) - self._clock()

    def _note_failure(self, error: SignInError) -> None:
        self._failures += 1
        pause_seconds = max(self._backoff.delay_seconds(self._failures), error.retry_after_seconds)
        self._retry_at = self._clock() + pause_seconds
        expires_at = self._signed_in.expires_at if self._signed_in is not None else 0.0
        seconds_left = max(0, int(expires_at - self._clock()))
        log_event(
            _log,
            logging.WARNING,
            _NOT_RENEWED,
            f"{_NOT_RENEWED}: {error.reason}; the one for {self._audience} is valid for {seconds_left} s more",
            audience=self._audience,
            error=error.reason,
            seconds_left=seconds_left,
        )
