"""Accounts and sessions: Firebase has them; what follows from that for the shop is decided here."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mstoken import UserCaller
from services.user.attempts import Attempts
from services.user.errors import CredentialsInvalid, FirebaseUnavailable, RefreshTokenInvalid, UserNotFound
from services.user.firebase import IdentityToolkit, Session, Sessions
from services.user.profiles import Profiles

FAILED_LOG_IN_SECONDS = 0.5
"""How long a log-in that fails takes: longer than Firebase needs, so that the time tells nothing."""


class Accounts:
    """Sign up, log in, refresh and log out.

    `forget` makes this process ask Firebase anew whether an identity's tokens count (`TokenVerifier.forget`). `clock`
    gives seconds since the epoch, `sleep` waits for seconds.
    """

    def __init__(
        self,
        toolkit: IdentityToolkit,
        sessions: Sessions,
        profiles: Profiles,
        attempts: Attempts,
        *,
        forget: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._toolkit = toolkit
        self._sessions = sessions
        self._profiles = profiles
        self._attempts = attempts
        self._forget = forget
        self._clock = clock
        self._sleep = sleep

    async def sign_up(self, email: str, password: str, display_name: str | None) -> Session:
        """Makes an account with a profile, and logs in.

        Raises `EmailTaken`, `AccountRefused`, `TooManyAttempts` and `FirebaseUnavailable`.
        """
        session = await self._toolkit.sign_up(email, password, display_name)
        await self._profiles.seen(session.uid, email, display_name)
        return session

    async def log_in(self, email: str, password: str, address: str) -> Session:
        """A new session, for somebody at the network address `address`.

        Raises `CredentialsInvalid`, after the same time whatever was wrong; `TooManyAttempts`; `FirebaseUnavailable`.
        """
        fails_at = self._clock() + FAILED_LOG_IN_SECONDS
        attempt = await self._attempts.begin(email, address)
        try:
            session = await self._toolkit.log_in(email, password)
        except CredentialsInvalid:
            await self._sleep(max(0.0, fails_at - self._clock()))
            raise
        except FirebaseUnavailable:
            await self._attempts.undecided(attempt)
            raise
        await self._attempts.succeeded(attempt)
        await self._profiles.seen(session.uid, email, session.display_name)
        return session

    async def refresh(self, refresh_token: str) -> Session:
        """The session of `refresh_token` with a new ID token. Raises `RefreshTokenInvalid`, `FirebaseUnavailable`.

        Firebase refuses the refresh token of a session that was ended. The Auth emulator does not, so the time of the
        log-in is compared here as well; the emulator gives every session that of the latest one, so that against it a
        refresh token works again once its user has logged in anew.
        """
        session = await self._toolkit.refresh(refresh_token)
        try:
            standing = await self._sessions.standing(session.uid)
        except UserNotFound as error:
            raise RefreshTokenInvalid from error
        if standing.disabled or session.auth_time < standing.valid_since:
            raise RefreshTokenInvalid
        return session

    async def log_out(self, caller: UserCaller) -> None:
        """Ends every session of the caller: no ID token or refresh token issued before works afterwards.

        Raises `FirebaseUnavailable`, and then nothing has ended.

        Firebase counts in whole seconds, and lets tokens of the very second live on. So this waits for the next second
        to begin and revokes as of then: the caller's own token is of an earlier one, and a log-in that follows is not.
        (To revoke first and wait afterwards would do in production; but the Auth emulator takes the time of the call
        instead of the time that it is told.)
        """
        valid_since = max(int(self._clock()), caller.issued_at) + 1
        while (remaining := valid_since - self._clock()) > 0:
            await self._sleep(remaining)
        # An account that was deleted meanwhile has no sessions left to end.
        with suppress(UserNotFound):
            await self._sessions.end(caller.uid, valid_since)
        self._forget(caller.uid)
