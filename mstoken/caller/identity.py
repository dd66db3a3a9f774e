"""Who this process is to other services."""

import asyncio
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Protocol, Self
from weakref import WeakKeyDictionary

import httpx

from mstoken.caller.auth import ServiceAuth
from mstoken.caller.flow import Flow, run, run_async
from mstoken.caller.minting import AdminMinter, Minter
from mstoken.caller.signin import TIMEOUT_SECONDS, SignIn
from mstoken.claims import ServiceClaims, service_name, service_uid
from mstoken.settings import Settings


class Transport(Protocol):
    """Sends sign-in requests in both worlds, as `httpx.MockTransport` does; the network's by default."""

    def handle_request(self, request: httpx.Request) -> httpx.Response: ...  # noqa: D102

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response: ...  # noqa: D102


class ServiceIdentity:
    """The Firebase identity `svc:<service>`, able to make a service token for each call.

    One instance serves a whole process: all its threads and event loops. Close it with `close` or `aclose`, or use it
    in `with` or `async with`.
    """

    def __init__(
        self,
        service: str,
        settings: Settings | None = None,
        *,
        minter: Minter | None = None,
        transport: Transport | None = None,
    ) -> None:
        """`service` is this service's name; `settings` come from the environment if left out.

        Raises `SettingsError` for settings that cannot work, ValueError for a name that no service can have.
        """
        settings = settings or Settings()
        self.service = service_name(service)
        self._sign_in = SignIn(settings)
        self._minter = minter or AdminMinter(settings)
        self._transport = transport
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._async_clients: MutableMapping[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    @property
    def uid(self) -> str:
        """The Firebase uid, such as `svc:billing`."""
        return service_uid(self.service)

    def to(self, audience: str) -> ServiceAuth:
        """An `httpx.Auth` for clients that call the service `audience`. Raises ValueError for no service's name."""
        return ServiceAuth(self, service_name(audience))

    async def token(self, audience: str) -> str:
        """A service token for one call to `audience`, signed in for at this moment.

        Raises `SignInRefused` and `SignInUnavailable`.
        """
        return await run_async(self._fresh_token(audience), self._async_client())

    def token_sync(self, audience: str) -> str:
        """What `token` gives, for code that runs in no event loop."""
        return run(self._fresh_token(audience), self._sync_client())

    def _fresh_token(self, audience: str) -> Flow[str]:
        claims = ServiceClaims.fresh(self.service, service_name(audience))
        custom_token = yield from self._minter.mint(claims)
        return (yield from self._sign_in.exchange(claims.uid, custom_token))

    def _sync_client(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(transport=self._transport, timeout=TIMEOUT_SECONDS)  # type: ignore[arg-type]
            return self._client

    def _async_client(self) -> httpx.AsyncClient:
        """The client of the running loop: a connection pool belongs to the loop that it was opened in."""
        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._async_clients.get(loop)
            if client is None:
                client = httpx.AsyncClient(transport=self._transport, timeout=TIMEOUT_SECONDS)  # type: ignore[arg-type]
                self._async_clients[loop] = client
            return client

    def close(self) -> None:
        """Closes the connections that `token_sync` left open."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Closes the connections that `token` left open in this event loop; other loops and threads keep theirs."""
        with self._lock:
            client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

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
