"""Failed log-ins, and how many of them an account and a network may have."""

import hashlib
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.ids import new_id
from services.user.errors import TooManyAttempts

if TYPE_CHECKING:
    from services.user.store import LoginAttemptStore

WINDOW_SECONDS = 15 * 60
MAX_PER_ACCOUNT = 10
MAX_PER_NETWORK = 100
"""Larger, because a company or a school may share one address."""


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A log-in that has not succeeded. It counts for `account` and `network`; `at` is in seconds since the epoch."""

    id: str
    account: str
    network: str
    at: int


class LoginAttempts:
    """Counts failed log-ins of the last 15 minutes, in all processes. Every call raises `DatabaseUnavailable`.

    An attempt is counted before its password is checked, so that many concurrent ones cannot exceed the limit. A log-in
    that succeeds removes the attempts of its account. Source: NIST SP 800-63B, section 5.2.2 (rate limiting).
    """

    def __init__(self, store: "LoginAttemptStore", *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since the epoch."""
        self._store = store
        self._clock = clock

    async def begin(self, email: str, address: str) -> LoginAttempt:
        """Count an attempt to log in as `email` from the network address `address`, and return it.

        Raises `TooManyAttempts` if the account or the network has had too many, also if there is no such account.
        """
        now = int(self._clock())
        attempt = LoginAttempt(new_id(), _account(email), _network(address), now)
        oldest = await self._store.add(
            attempt,
            since=now - WINDOW_SECONDS,
            account_limit=MAX_PER_ACCOUNT,
            network_limit=MAX_PER_NETWORK,
        )
        if oldest is not None:
            raise TooManyAttempts(retry_after_seconds=max(1, oldest + WINDOW_SECONDS - now))
        return attempt

    async def succeeded(self, attempt: LoginAttempt) -> None:
        """Remove all attempts on the account of a log-in that has succeeded."""
        await self._store.remove_account(attempt.account)

    async def undecided(self, attempt: LoginAttempt) -> None:
        """Remove an attempt whose password could not be checked, because Firebase was unavailable."""
        await self._store.remove(attempt)


def _account(email: str) -> str:
    """Return the hash of an e-mail address. A mistyped address may be somebody else's, so it is not stored."""
    return hashlib.sha256(email.encode()).hexdigest()


def _network(address: str) -> str:
    """Return the address, or the /64 network of an IPv6 address, which one customer has (RFC 6177).

    Return "unknown" for anything else.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
