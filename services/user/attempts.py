"""Log-ins that fail: how many of them an account and an address may have."""

import hashlib
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.common.ids import new_id
from services.user.errors import TooManyAttempts

WINDOW_SECONDS = 15 * 60
MOST_OF_AN_ACCOUNT = 10
MOST_OF_AN_ADDRESS = 100
"""Larger, since a company or a school may share one address."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A log-in that has not succeeded: `account` and `network` are what it counts for, `at` is its time in seconds."""

    id: str
    account: str
    network: str
    at: int


class Store(Protocol):
    """Where attempts are kept; see `services.user.store`."""

    async def add(self, attempt: Attempt, *, since: int, account_limit: int, network_limit: int) -> int | None: ...  # noqa: D102

    async def remove(self, account: str) -> None: ...  # noqa: D102

    async def withdraw(self, attempt: Attempt) -> None: ...  # noqa: D102


class Attempts:
    """Counts failed log-ins in a window of 15 minutes, for all workers. Every call raises `DatabaseUnavailable`.

    An attempt is written down before the password is looked at, so that many at once cannot slip through; a log-in
    that succeeds takes the account's attempts back. Source: NIST SP 800-63B, section 5.2.2 (rate limiting).
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self._store = store
        self._clock = clock

    async def begin(self, email: str, address: str) -> Attempt:
        """Notes an attempt to log in as `email` from the network address `address`.

        Raises `TooManyAttempts` where either has had too many: whether there is such an account makes no difference.
        """
        now = int(self._clock())
        attempt = Attempt(new_id(), _account(email), _network(address), now)
        oldest = await self._store.add(
            attempt,
            since=now - WINDOW_SECONDS,
            account_limit=MOST_OF_AN_ACCOUNT,
            network_limit=MOST_OF_AN_ADDRESS,
        )
        if oldest is not None:
            raise TooManyAttempts(retry_after_seconds=max(1, oldest + WINDOW_SECONDS - now))
        return attempt

    async def succeeded(self, attempt: Attempt) -> None:
        """Forgets the account's failures."""
        await self._store.remove(attempt.account)

    async def undecided(self, attempt: Attempt) -> None:
        """Takes an attempt back that nobody could judge, since Firebase was away."""
        await self._store.withdraw(attempt)


def _account(email: str) -> str:
    """What stands for an e-mail address: people who mistype theirs do not want it kept."""
    return hashlib.sha256(email.encode()).hexdigest()


def _network(address: str) -> str:
    """The address, or the /64 that one holder of IPv6 addresses has (RFC 6177); "unknown" where there is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)
