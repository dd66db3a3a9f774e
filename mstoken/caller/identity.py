"""Who this process is to other services."""

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - its hook at the end of the process has to be there before ours
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Self

import httpx

from mstoken.caller.auth import ServiceAuth
from mstoken.caller.background import Background
from mstoken.caller.bound import BoundTokens
from mstoken.caller.minting import AdminMinter, Minter
from mstoken.caller.signin import TIMEOUT_SECONDS, SignIn
from mstoken.caller.stock import MAX_ON_ORDER, TokenStock
from mstoken.claims import MODES, Mode, ServiceClaims, service_name, service_uid
from mstoken.errors import SignInError, SignInUnavailable
from mstoken.proof import ProofKey
from mstoken.settings import Settings

_LIMITS = httpx.Limits(max_connections=2 * MAX_ON_ORDER, max_keepalive_connections=MAX_ON_ORDER)

_log = logging.getLogger("mstoken.tokens")


class ServiceIdentity:
    """The Firebase identity `svc:<service>`, with a service token for each call.

    One instance serves a whole process: all its threads and event loops; forked children sign in for themselves. Close
    it with `close` or `aclose`, or use it in `with` or `async with`.
    """

    def __init__(
        self,
        service: str,
        settings: Settings | None = None,
        *,
        minter: Minter | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`service` is this service's name; `settings` come from the environment if left out.

        `minter` and `transport` stand in for firebase-admin and for the network; `clock` gives seconds since the epoch.
        Raises `SettingsError` for settings that cannot work, ValueError for a name that no service can have.
        """
        settings = settings or Settings()
        self.service = service_name(service)
        self._mode = settings.mode
        self._sign_in = SignIn(settings, sleep=sleep)
        self._minter = minter or AdminMinter(settings)
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens: _ProcessTokens | None = None

    @property
    def uid(self) -> str:
        """The Firebase uid, such as `svc:billing`."""
        return service_uid(self.service)

    def to(self, audience: str, mode: Mode | None = None) -> ServiceAuth:
        """An `httpx.Auth` for clients that call the service `audience`, in the settings' mode unless `mode` is given.

        Raises ValueError for no service's name, and for no mode.
        """
        return ServiceAuth(self, audience, mode or self._mode)

    async def token(self, audience: str, mode: Mode = "fresh") -> str:
        """A service token for `audience`: a fresh one, for one call and for nobody else, or the one that is bound.

        Raises `SignInRefused` and `SignInUnavailable`, ValueError for no service's name, and for no mode.
        """
        tokens = self._of_this_process()
        token = tokens.take(audience, mode)
        if token is not None:
            return token
        try:
            return await asyncio.wrap_future(tokens.sign_in(audience, mode))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise self._closed_meanwhile() from None

    def token_sync(self, audience: str, mode: Mode = "fresh") -> str:
        """What `token` gives, for code that runs in no event loop."""
        tokens = self._of_this_process()
        token = tokens.take(audience, mode)
        if token is not None:
            return token
        try:
            return tokens.sign_in(audience, mode).result()
        except CancelledError:
            raise self._closed_meanwhile() from None

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        """A proof for one call with `token`, which is bound to this process's key. Raises ValueError for no URL."""
        return self._of_this_process().key.proof(method, url, token, issued_at=self._clock(), nonce=nonce)

    def refused(self, audience: str, token: str) -> None:
        """`audience` says that the bound `token` does not count any more."""
        tokens = self._tokens
        if tokens is not None:
            tokens.bound.refused(audience, token)

    def close(self) -> None:
        """Ends the background work, and closes the connections to Firebase. The next token begins both anew."""
        with self._lock:
            tokens, self._tokens = self._tokens, None
        if tokens is not None:
            tokens.close()

    async def aclose(self) -> None:
        """What `close` does, without holding up the event loop."""
        await asyncio.to_thread(self.close)

    def _of_this_process(self) -> "_ProcessTokens":
        tokens = self._tokens
        if tokens is not None and tokens.pid == os.getpid():
            return tokens
        with self._lock:
            if self._tokens is None or self._tokens.pid != os.getpid():
                client = httpx.AsyncClient(transport=self._transport, timeout=TIMEOUT_SECONDS, limits=_LIMITS)
                self._tokens = _ProcessTokens(self.service, self._mint_and_sign_in, client, self._clock, self._sleep)
            return self._tokens

    def _closed_meanwhile(self) -> SignInUnavailable:
        return SignInUnavailable(self.uid, "the identity was closed meanwhile")

    async def _mint_and_sign_in(self, client: httpx.AsyncClient, claims: ServiceClaims) -> str:
        custom_token = await self._minter.mint(claims)
        return await self._sign_in.exchange(client, claims.uid, custom_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class _ProcessTokens:
    """The tokens and the key of one process. A forked child must not share them: a fresh token counts once."""

    def __init__(
        self,
        service: str,
        sign_in: Callable[[httpx.AsyncClient, ServiceClaims], Awaitable[str]],
        client: httpx.AsyncClient,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self.pid = os.getpid()
        self.key = ProofKey()
        self.bound = BoundTokens(self._bound_token, clock=clock, sleep=sleep)
        self._service = service
        self._sign_in = sign_in
        self._client = client
        self._clock = clock
        self._stocks: dict[str, TokenStock] = {}
        self._ordered: set[asyncio.Task[None]] = set()
        self._background = Background(f"mstoken {service}")
        _open.add(self)

    def take(self, audience: str, mode: Mode) -> str | None:
        """A token that is there already. Raises ValueError for no mode, and for no service's name."""
        if mode not in MODES:
            raise ValueError(f"{mode!r} is no mode: {' or '.join(MODES)} is wanted")
        if mode == "proof":
            return self.bound.current(audience)
        stock = self._stocks.get(audience) or self._stocks.setdefault(service_name(audience), TokenStock(self._clock))
        token = stock.take()
        if number := stock.order():
            self._background.call_soon(lambda: self._fill(audience, stock, number))
        return token

    def sign_in(self, audience: str, mode: Mode) -> "Future[str]":
        """A token to wait for."""
        return self._background.submit(self.bound.get(audience) if mode == "proof" else self._fresh_token(audience))

    def close(self) -> None:
        """Of use in the process that it was made in; a forked child has nothing of it but the memory."""
        _open.discard(self)
        if self.pid == os.getpid():
            self._background.close(self._client.aclose())

    def _fill(self, audience: str, stock: TokenStock, number: int) -> None:
        for _ in range(number):
            task = asyncio.create_task(self._put_one(audience, stock), name=f"mstoken fresh token for {audience}")
            self._ordered.add(task)
            task.add_done_callback(self._ordered.discard)

    async def _put_one(self, audience: str, stock: TokenStock) -> None:
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


_open: set[_ProcessTokens] = set()


def _close_all() -> None:
    """At the end of the process: connections that nobody closes are warned of, and sign-ins under way would fail."""
    for tokens in list(_open):
        tokens.close()


# Python's own `atexit` comes after the thread pools are gone that signing in may need. Where this hook, which they use
# themselves, should be gone one day, it will do all the same.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
