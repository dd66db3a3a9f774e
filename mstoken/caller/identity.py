"""The identity of this process: how it gets service tokens for the services that it calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Self

import httpx

from mstoken.background import wait_for
from mstoken.blocking import start_blocking
from mstoken.caller.auth import ServiceAuth
from mstoken.caller.calls import ServiceCalls
from mstoken.caller.minting import Minter
from mstoken.caller.parts import IdentityParts
from mstoken.claims import service_name, service_uid
from mstoken.errors import SignInUnavailable
from mstoken.per_process import PerProcess
from mstoken.settings import Settings
from mstoken.wire import Mode


class ServiceIdentity:
    """The Firebase identity `svc:<service>`, which gets a service token for each call.

    One instance serves a whole process with all its threads and event loops, those of asyncio and those of trio. A
    forked child signs in for itself. Close it with `close` or `aclose`, or use it in `with` or `async with`.

    Making it reads nothing, so a module may do that. The settings are read at the first call, or by `prepare`.
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
        """`service` is the name of this service. `settings` are read from the environment by default.

        `minter` replaces the way to custom tokens that the settings say, and `transport` the network. `clock` returns
        seconds since the epoch. Raise ValueError for an invalid name.
        """
        self.service = service_name(service)
        self._parts = PerProcess(
            lambda: IdentityParts.of(self.service, settings or Settings(), minter, transport, clock, sleep)
        )
        self._tokens = PerProcess(lambda: self._parts.get().tokens(self.service))

    def prepare(self) -> Self:
        """Read the settings now, so that a mistake is found when the program starts, and return this identity.

        Raise `SettingsError` for settings that cannot work.
        """
        self._parts.get()
        return self

    @property
    def uid(self) -> str:
        """The Firebase uid, such as `svc:billing`."""
        return service_uid(self.service)

    def to(self, audience: str, mode: Mode | None = None) -> ServiceAuth:
        """Return an `httpx.Auth` for clients that call the service `audience`. The default mode is the settings'.

        Raise ValueError for an invalid name or an unknown mode.
        """
        return ServiceAuth(self, audience, mode or self._default_mode)

    def calls(self, audience: str, mode: Mode | None = None) -> ServiceCalls:
        """Return what the adapters of other HTTP clients need for calls to the service `audience`.

        Raise ValueError as `to` does.
        """
        return ServiceCalls(self, audience, mode or self._default_mode)

    async def token(self, audience: str, mode: Mode = "fresh", *, new: bool = False) -> str:
        """Return a service token for `audience`: in the mode `fresh` a new one for one call, in `proof` the bound one.

        With `new`, a fresh token is signed in now, and none that was signed in ahead of need is taken.

        Raise `SignInRefused`, `SignInUnavailable`, and ValueError for an invalid name or an unknown mode.
        """
        tokens = self._tokens.get()
        token = None if new else tokens.take(audience, mode)
        if token is not None:
            return token
        try:
            return await wait_for(tokens.sign_in(audience, mode))
        except CancelledError:
            raise self._closed_error() from None

    def token_sync(self, audience: str, mode: Mode = "fresh", *, new: bool = False) -> str:
        """Return what `token` returns, for code outside of an event loop."""
        tokens = self._tokens.get()
        token = None if new else tokens.take(audience, mode)
        if token is not None:
            return token
        try:
            return tokens.sign_in(audience, mode).result()
        except CancelledError:
            raise self._closed_error() from None

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        """Return a proof for one call with the bound `token`. Raise ValueError if `url` is not an http or https URL."""
        return self._tokens.get().key.proof(method, url, token, issued_at=self._parts.get().clock(), nonce=nonce)

    def refused(self, audience: str, mode: Mode, token: str, *, is_revoked: bool) -> bool:
        """Note that `audience` no longer accepts `token`. Return whether it may accept a new one.

        With `is_revoked`, the identity was disabled or its tokens were revoked, so the tokens in stock are thrown away.
        """
        tokens = self._tokens.peek()
        return tokens is None or tokens.refused(audience, mode, token, is_revoked=is_revoked)

    def close(self) -> None:
        """End the background work, and close the connections to Firebase. The next token begins both anew."""
        if tokens := self._tokens.pop():
            tokens.close()

    async def aclose(self) -> None:
        """Do what `close` does, without blocking the event loop."""
        await wait_for(start_blocking(self.close))

    def replace_parts(self, parts: PerProcess[IdentityParts]) -> PerProcess[IdentityParts]:
        """Sign in with other parts from now on, for tests, and return the former ones. Tokens in stock are dropped."""
        # In this order, because a call of another thread may take the place of what is closed at once.
        former, self._parts = self._parts, parts
        self.close()
        return former

    def _default_mode(self) -> Mode:
        return self._parts.get().mode

    def _closed_error(self) -> SignInUnavailable:
        return SignInUnavailable(self.uid, "the identity was closed while the call waited for a token")

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
