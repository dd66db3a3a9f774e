"""The tokens of one process: those in stock, those that are bound to its key, and the background that signs in."""

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - its hook at the end of the process has to be there before ours
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

import httpx

from mstoken.background import Background
from mstoken.caller.bound import BoundTokens
from mstoken.caller.exchange import TIMEOUT_SECONDS
from mstoken.caller.fresh import MAX_ON_ORDER, FreshTokens
from mstoken.claims import ServiceClaims, service_name
from mstoken.errors import SignInError
from mstoken.proof import ProofKey
from mstoken.wire import MODES, Mode

_LIMITS = httpx.Limits(max_connections=2 * MAX_ON_ORDER, max_keepalive_connections=MAX_ON_ORDER)

_log = logging.getLogger("mstoken.tokens")


class ProcessTokens:
    """The tokens and the key of one process. A forked child must not share them: a fresh token counts once."""

    def __init__(
        self,
        service: str,
        sign_in: Callable[[httpx.AsyncClient, ServiceClaims], Awaitable[str]],
        *,
        transport: httpx.AsyncBaseTransport | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        """`sign_in` gives a token with these claims over the client, or raises `SignInError`."""
        self.pid = os.getpid()
        self.key = ProofKey()
        self.bound = BoundTokens(self._bound_token, clock=clock, sleep=sleep)
        self._service = service
        self._sign_in = sign_in
        self._client = httpx.AsyncClient(transport=transport, timeout=TIMEOUT_SECONDS, limits=_LIMITS)
        self._clock = clock
        self._stocks: dict[str, FreshTokens] = {}
        self._ordered: set[asyncio.Task[None]] = set()
        self._background = Background(f"mstoken {service}")
        _open.add(self)

    def take(self, audience: str, mode: Mode) -> str | None:
        """A token that is there already. Raises ValueError for no mode, and for no service's name."""
        if mode not in MODES:
            raise ValueError(f"{mode!r} is no mode: {' or '.join(MODES)} is wanted")
        if mode == "proof":
            return self.bound.current(audience)
        stock = self._stocks.get(audience) or self._stocks.setdefault(service_name(audience), FreshTokens(self._clock))
        token = stock.take()
        if number := stock.order():
            self._background.call_soon(lambda: self._fill(audience, stock, number))
        return token

    def sign_in(self, audience: str, mode: Mode) -> "Future[str]":
        """A token to wait for. Cancelled where this is closed meanwhile."""
        return self._background.submit(self.bound.get(audience) if mode == "proof" else self._fresh_token(audience))

    def close(self) -> None:
        """Of use in the process that it was made in; a forked child has nothing of it but the memory."""
        _open.discard(self)
        if self.pid == os.getpid():
            self._background.close(self._client.aclose())

    def _fill(self, audience: str, stock: FreshTokens, number: int) -> None:
        for _ in range(number):
            task = asyncio.create_task(self._put_one(audience, stock), name=f"mstoken fresh token for {audience}")
            self._ordered.add(task)
            task.add_done_callback(self._ordered.discard)

    async def _put_one(self, audience: str, stock: FreshTokens) -> None:
        began_at = self._clock()
        try:
            token = await self._fresh_token(audience)
        except SignInError as error:
            stock.fail(retry_after_seconds=error.retry_after_seconds)
            _log.warning("no token ahead of need", extra={"audience": audience, "error": error.reason})
        except Exception:  # A defect here must not end the stocking.
            stock.fail(retry_after_seconds=0.0)
            _log.exception("no token ahead of need")
        else:
            stock.put(token, signed_in_at=began_at, took_seconds=self._clock() - began_at)

    async def _fresh_token(self, audience: str) -> str:
        return await self._sign_in(self._client, ServiceClaims.fresh(self._service, service_name(audience)))

    async def _bound_token(self, audience: str) -> str:
        claims = ServiceClaims.bound(self._service, service_name(audience), self.key.thumbprint)
        return await self._sign_in(self._client, claims)


_open: set[ProcessTokens] = set()


def _close_all() -> None:
    """At the end of the process: connections that nobody closes are warned of, and sign-ins under way would fail."""
    for tokens in list(_open):
        tokens.close()


# Python's own `atexit` comes after the thread pools are gone that signing in may need. Where this hook, which they use
# themselves, should be gone one day, it will do all the same.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
