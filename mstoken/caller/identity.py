"""Who this process is to other services."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Self

import httpx

from mstoken.caller.auth import ServiceAuth
from mstoken.caller.broker import BrokerMinter
from mstoken.caller.minting import AdminMinter, Minter
from mstoken.caller.process import ProcessTokens
from mstoken.caller.signin import SignIn
from mstoken.claims import ServiceClaims, log_name, service_name, service_uid
from mstoken.errors import SignInUnavailable
from mstoken.settings import Settings
from mstoken.wire import Mode

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

        Custom tokens come from the token service, if the settings name one, and are signed here otherwise; `minter`
        and `transport` stand in for that and for the network; `clock` gives seconds since the epoch.
        Raises `SettingsError` for settings that cannot work, ValueError for a name that no service can have.
        """
        settings = settings or Settings()
        self.service = service_name(service)
        self._mode = settings.mode
        self._sign_in = SignIn(settings, sleep=sleep)
        self._minter = minter or _minter(settings, self.service, sleep)
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens: ProcessTokens | None = None

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

    def _of_this_process(self) -> ProcessTokens:
        tokens = self._tokens
        if tokens is not None and tokens.pid == os.getpid():
            return tokens
        with self._lock:
            if self._tokens is None or self._tokens.pid != os.getpid():
                self._tokens = ProcessTokens(
                    self.service,
                    self._mint_and_sign_in,
                    transport=self._transport,
                    clock=self._clock,
                    sleep=self._sleep,
                )
            return self._tokens

    def _closed_meanwhile(self) -> SignInUnavailable:
        return SignInUnavailable(self.uid, "the identity was closed meanwhile")

    async def _mint_and_sign_in(self, client: httpx.AsyncClient, claims: ServiceClaims) -> str:
        began = time.perf_counter()
        custom_token = await self._minter.mint(client, claims)
        minted = time.perf_counter()
        token = await self._sign_in.exchange(client, claims.uid, custom_token)
        facts = {
            "audience": claims.audience,
            "mode": claims.mode,
            "custom_token_ms": round((minted - began) * 1000, 1),
            "sign_in_ms": round((time.perf_counter() - minted) * 1000, 1),
            "token": log_name(token),
        }
        _log.info("signed in", extra=facts)
        return token

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


def _minter(settings: Settings, service: str, sleep: Callable[[float], Awaitable[object]]) -> Minter:
    return BrokerMinter(settings, service, sleep=sleep) if settings.token_service_url else AdminMinter(settings)
