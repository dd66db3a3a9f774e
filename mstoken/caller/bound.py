"""Tokens that are bound to this process's key: one sign-in an hour for each audience, which no call waits for."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mstoken.errors import SignInError
from mstoken.wire import ID_TOKEN_LIFETIME_SECONDS

RENEW_SECONDS = 55 * 60.0
"""How old a token is when the next one is signed in for: five minutes are left to get through an outage."""
RENEW_SPREAD_SECONDS = 60.0
"""How far the renewals of processes that started together drift apart."""
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0
REFUSED_SECONDS = 60.0
"""How old a token that a callee refuses must be for another sign-in to be worth its while."""

_DOUBLINGS = 10

_log = logging.getLogger("mstoken.tokens")


@dataclass(frozen=True, slots=True)
class _Bound:
    token: str
    signed_in_at: float
    renew_at: float
    expires_at: float


class BoundTokens:
    """One token for each audience, renewed for as long as the process lives.

    `current` and `refused` are for any thread, the rest for the background loop. `sign_in` gives a new token for an
    audience or raises `SignInError`; `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        sign_in: Callable[[str], Awaitable[str]],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._sign_in = sign_in
        self._clock = clock
        self._sleep = sleep
        self._tokens: dict[str, _Bound] = {}
        self._signing_in: dict[str, asyncio.Task[str]] = {}
        self._renewing: dict[str, asyncio.Task[None]] = {}

    def current(self, audience: str) -> str | None:
        """The token, if there is one and its hour is not over."""
        bound = self._tokens.get(audience)
        return bound.token if bound is not None and self._clock() < bound.expires_at else None

    async def get(self, audience: str) -> str:
        """The token, signed in for where there is none: once, however many wait. Raises `SignInError`."""
        return self.current(audience) or await self._join_sign_in(audience)

    def refused(self, audience: str, token: str) -> None:
        """The callee says that `token` does not count any more. Unless it is quite new, the next call gets another."""
        bound = self._tokens.get(audience)
        if bound is None or bound.token != token:
            return
        # One from the future is of a time before the clock was set back, and of no known age.
        if not 0 <= self._clock() - bound.signed_in_at < REFUSED_SECONDS:
            self._tokens.pop(audience, None)

    async def _join_sign_in(self, audience: str) -> str:
        task = self._signing_in.get(audience)
        if task is None:
            task = asyncio.create_task(self._sign_in_and_keep(audience), name=f"mstoken sign-in for {audience}")
            self._signing_in[audience] = task
        return await asyncio.shield(task)

    async def _sign_in_and_keep(self, audience: str) -> str:
        try:
            # From before the sign-in on, so that it is over here no later than at the callee.
            signed_in_at = self._clock()
            token = await self._sign_in(audience)
        finally:
            del self._signing_in[audience]
        renew_at = signed_in_at + RENEW_SECONDS + random.random() * RENEW_SPREAD_SECONDS  # noqa: S311 - spreads load
        self._tokens[audience] = _Bound(token, signed_in_at, renew_at, signed_in_at + ID_TOKEN_LIFETIME_SECONDS)
        if audience not in self._renewing:
            self._renewing[audience] = asyncio.create_task(
                self._renew(audience), name=f"mstoken renewal for {audience}"
            )
        return token

    async def _renew(self, audience: str) -> None:
        failures, retry_at, failed_with = 0, 0.0, None
        while True:
            bound = self._tokens.get(audience)
            if bound is not failed_with:
                failures, retry_at = 0, 0.0
            due_at = max(retry_at, bound.renew_at if bound is not None else 0.0)
            # Looked at again after the wait: a call may have signed in, after the machine had slept through the hour.
            if (wait_seconds := due_at - self._clock()) > 0:
                await self._sleep(wait_seconds)
                continue
            try:
                await self._join_sign_in(audience)
            except SignInError as error:
                failures, failed_with = failures + 1, bound
                pause_seconds = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, _DOUBLINGS))
                retry_at = self._clock() + max(pause_seconds, error.retry_after_seconds)
                left_seconds = int(bound.expires_at - self._clock()) if bound is not None else 0
                facts = {"audience": audience, "error": error.reason, "seconds_left": max(0, left_seconds)}
                _log.warning("a service token could not be renewed", extra=facts)
            except Exception:  # A defect here must not end the renewing.
                retry_at, failed_with = self._clock() + LONGEST_RETRY_SECONDS, bound
                _log.exception("a service token could not be renewed")
