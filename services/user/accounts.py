"""Accounts and sessions. Firebase has them; the shop's rules about them are here."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mstoken import UserCaller
from services.user.attempts import Attempt, Attempts
from services.user.errors import (
    AccountRefused,
    CredentialsInvalid,
    EmailTaken,
    FirebaseUnavailable,
    RefreshTokenInvalid,
    TooManyAttempts,
    UserNotFound,
)
from services.user.firebase import IdentityToolkit, Session, Sessions
from services.user.passwords import is_guessable
from services.user.profiles import Profiles

FAILED_LOG_IN_SECONDS = 0.5
"""How long a failed log-in or sign-up takes, in seconds: longer than Firebase needs, so the time does not tell what
failed, and a sign-up is not a faster way than a log-in to try addresses."""

GUESSABLE = (
    "Attackers try this password, or one like it, among the first. Choose a longer one, for example three words that "
    "have nothing to do with each other."
)


class Accounts:
    """Sign up, log in, refresh and log out. Every call raises `FirebaseUnavailable`.

    `forget` is `TokenVerifier.forget`: it makes this process ask Firebase again about a user's tokens. A refused
    log-in or sign-up is answered after `failed_log_in_seconds`. `clock` returns seconds since the epoch, `sleep` takes
    seconds.
    """

    def __init__(
        self,
        toolkit: IdentityToolkit,
        sessions: Sessions,
        profiles: Profiles,
        attempts: Attempts,
        *,
        forget: Callable[[str], None],
        failed_log_in_seconds: float = FAILED_LOG_IN_SECONDS,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._toolkit = toolkit
        self._sessions = sessions
        self._profiles = profiles
        self._attempts = attempts
        self._forget = forget
        self._failed_log_in_seconds = failed_log_in_seconds
        self._clock = clock
        self._sleep = sleep

    async def sign_up(self, email: str, password: str, display_name: str | None, network: str) -> Session:
        """Create an account with a profile, log in from `network`, and return the session.

        Raises `TooManyAttempts`, and `EmailTaken` and `AccountRefused`. If Firebase has refused the account, both are
        raised always after the same time.
        """
        fails_at = self._clock() + self._failed_log_in_seconds
        attempt = await self._attempts.sign_up(email, network)
        # After the limits, because it costs milliseconds of processor time.
        if is_guessable(password, [text for text in (email, display_name) if text]):
            await self._attempts.undecided(attempt)
            raise AccountRefused(GUESSABLE)
        session = await self._decide(attempt, fails_at, self._toolkit.sign_up(email, password, display_name))
        await self._profiles.seen(session.uid, email, display_name)
        return session

    async def log_in(self, email: str, password: str, network: str) -> Session:
        """Log in from `network`, and return a new session.

        Raises `TooManyAttempts`, and `CredentialsInvalid`, always after the same time.
        """
        fails_at = self._clock() + self._failed_log_in_seconds
        attempt = await self._attempts.log_in(email, network)
        session = await self._decide(attempt, fails_at, self._toolkit.log_in(email, password))
        await self._profiles.seen(session.uid, email, session.display_name)
        return session

    async def _decide(self, attempt: Attempt, fails_at: float, answer: Awaitable[Session]) -> Session:
        """Return the session in the answer of Firebase. A refusal is raised at `fails_at`, not earlier."""
        try:
            session = await answer
        except (CredentialsInvalid, EmailTaken, AccountRefused):
            await self._sleep(max(0.0, fails_at - self._clock()))
            raise
        except (FirebaseUnavailable, TooManyAttempts):
            await self._attempts.undecided(attempt)
            raise
        await self._attempts.succeeded(attempt)
        return session

    async def refresh(self, refresh_token: str, network: str) -> Session:
        """Return the session of `refresh_token` with a new ID token, for a request from `network`.

        Raises `RefreshTokenInvalid` and `TooManyAttempts`.

        Firebase refuses the refresh token of a session that has ended. The Auth emulator does not, so this compares the
        time of the log-in as well. The emulator gives all of a user's sessions the time of the latest log-in: with it,
        an old refresh token works again after the user has logged in again.
        """
        attempt = await self._attempts.refresh(refresh_token, network)
        try:
            session = await self._toolkit.refresh(refresh_token)
            status = await self._sessions.status(session.uid)
        except UserNotFound as error:
            raise RefreshTokenInvalid from error
        except FirebaseUnavailable:
            await self._attempts.undecided(attempt)
            raise
        if status.disabled or session.auth_time < status.valid_since:
            raise RefreshTokenInvalid
        return session

    async def log_out(self, caller: UserCaller) -> None:
        """End every session of the caller: ID tokens and refresh tokens that were issued before are refused afterwards.

        If this raises `FirebaseUnavailable`, no session has ended.

        Firebase counts in whole seconds, and accepts tokens of the second in which sessions were ended. So this waits
        until the next second begins, and ends the sessions before it: the caller's token is older than that, and a
        log-in that follows is not. (In production we could end the sessions first and wait then. But the Auth emulator
        takes the time of the call instead of the time that it is given.)
        """
        valid_since = max(int(self._clock()), caller.issued_at) + 1
        while (remaining := valid_since - self._clock()) > 0:
            await self._sleep(remaining)
        # An account that was deleted in the meantime has no sessions.
        with suppress(UserNotFound):
            await self._sessions.end(caller.uid, valid_since)
        self._forget(caller.uid)
