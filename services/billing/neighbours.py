"""Billing's calls to Product and User, each with a service token of Billing and a deadline.

The deadline is sent along with the call. Within it, a call that fails gets a second and a third attempt, each with a
token of its own, as long as not too many calls need one. A service that does not work gets no calls for a while.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from mstoken import ServiceIdentity
from mstoken.client_pool import ClientPool
from mstoken.errors import SignInError, SignInRefused, SignInUnavailable
from mstoken.header_fields import retry_after_seconds
from mstoken.log_events import log_event
from services.billing.errors import (
    NeighbourFailed,
    NeighbourUnavailable,
    ProductFailed,
    ProductUnavailable,
    UserFailed,
    UserUnavailable,
)
from services.billing.settings import BillingSettings
from services.common.breaker import CallOutcome, CircuitBreaker, CircuitOpen
from services.common.deadlines import DEADLINE_HEADER, remaining_seconds, within
from services.common.middleware import REQUEST_ID_HEADER, current_request_id
from services.common.retries import Retries, TryAgain
from services.common.shapes import Address

POOL_SECONDS = 2.0
"""How long a call waits for a free connection, in seconds."""
TIMEOUT = httpx.Timeout(5.0, connect=2.0, pool=POOL_SECONDS)
MAX_CONNECTIONS = 50
"""Maximum number of calls to each service at the same time."""
MAX_IDLE_CONNECTIONS = 20
IDLE_SECONDS = 4.0
"""How long an idle connection is used again, in seconds. uvicorn closes it after 5 seconds: a request sent at that very
moment would be lost."""
LIMITS = httpx.Limits(max_connections=1, keepalive_expiry=IDLE_SECONDS)

DEADLINE_SECONDS = 10.0
"""Maximum time for a whole call, with its sign-ins and all of its attempts, in seconds. An attempt has half of it: the
time-out of httpx would begin again with each piece that arrives."""

_log = logging.getLogger("services.billing.neighbours")
_AT_SERVICE = "shop.at_service"
"""The extension of a request that says whether the service is waited for. Otherwise a token is."""
_DOWN = frozenset({502, 503, 504})
_TRY_LATER = frozenset({408, 425, 429, 500}) | _DOWN

Answer = TypeVar("Answer", bound=BaseModel)


class Customer(BaseModel):
    """What User tells Billing about a user."""

    uid: str
    name: str | None
    address: Address | None


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """A service that Billing calls, and the errors that its failures become."""

    url: str
    clients: ClientPool
    breaker: CircuitBreaker
    retries: Retries
    unavailable: type[NeighbourUnavailable]
    failed: type[NeighbourFailed]


@cache
def _authorities() -> ssl.SSLContext:
    """Return the certificate authorities that connections trust. They are read once in a process: it takes 25 ms."""
    return httpx.create_ssl_context()


class Neighbours:
    """The services Product and User. Every call raises `NeighbourUnavailable` or `NeighbourFailed` on failure.

    Use it with `async with`, which closes the connections at the end.
    """

    def __init__(
        self,
        settings: BillingSettings,
        identity: ServiceIdentity,
        *,
        transports: Mapping[str, httpx.AsyncBaseTransport] | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`transports` replace the network, by the name of the service: "product", "user".

        `clock` and `sleep`, in seconds, measure the pauses after failures.
        """
        self._identity = identity
        self._deadline_seconds = deadline_seconds

        def neighbour(url: str, unavailable: type[NeighbourUnavailable], failed: type[NeighbourFailed]) -> _Neighbour:
            name = unavailable.service
            transport, auth = (transports or {}).get(name), identity.to(name)
            clients = ClientPool(
                lambda: httpx.AsyncClient(
                    auth=auth,
                    timeout=TIMEOUT,
                    limits=LIMITS,
                    event_hooks={"request": [_note_sent], "response": [_note_refused]},
                    transport=transport,
                    verify=_authorities() if transport is None else True,
                ),
                max_clients=MAX_CONNECTIONS,
                max_idle=MAX_IDLE_CONNECTIONS,
                idle_seconds=IDLE_SECONDS,
                wait_seconds=POOL_SECONDS,
            )
            return _Neighbour(
                url.rstrip("/"), clients, CircuitBreaker(name, clock=clock), Retries(sleep=sleep), unavailable, failed
            )

        self._product = neighbour(settings.product_url, ProductUnavailable, ProductFailed)
        self._user = neighbour(settings.user_url, UserUnavailable, UserFailed)

    async def customer(self, uid: str) -> Customer | None:
        """Return what User tells about the user; None if User does not know the user."""
        path = f"/users/{quote(uid, safe='')}"
        response = await self._call(self._user, "GET", path, accepted=(httpx.codes.NOT_FOUND,))
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return parse(response, Customer, UserFailed)

    async def call_product(
        self, method: str, path: str, *, accepted: Collection[int] = (), **request: Any
    ) -> httpx.Response:
        """Send an idempotent request to Product. Return its answer: a success, or one of the statuses `accepted`."""
        return await self._call(self._product, method, path, accepted=accepted, **request)

    async def _call(
        self, neighbour: _Neighbour, method: str, path: str, *, accepted: Collection[int], **request: Any
    ) -> httpx.Response:
        async def attempt() -> httpx.Response:
            with neighbour.breaker.call() as outcome:
                return await self._attempt(neighbour, outcome, method, path, **request)

        service = neighbour.failed.service
        try:
            async with within(self._deadline_seconds):
                response = await neighbour.retries.call(attempt)
        except (TryAgain, CircuitOpen, httpx.PoolTimeout, TimeoutError, SignInUnavailable) as error:
            reason = error.reason if isinstance(error, TryAgain | SignInUnavailable) else type(error).__name__
            log_failure(service, reason, level=logging.WARNING)
            raise neighbour.unavailable from error
        except SignInRefused as error:
            log_failure(service, error.reason)
            raise neighbour.failed from error
        if response.is_success or response.status_code in accepted:
            return response
        log_failure(service, f"status {response.status_code}", level=logging.WARNING)
        raise neighbour.unavailable if response.status_code in _TRY_LATER else neighbour.failed

    async def _attempt(
        self, neighbour: _Neighbour, outcome: CallOutcome, method: str, path: str, **content: Any
    ) -> httpx.Response:
        """Send the request once. Raise `TryAgain` if the service does not answer, or answers that it cannot work now.

        An attempt that ends because the caller has no time left does not count as a failure of the service. Nor does
        one that waited for a free connection, or for a token: from Firebase, or from the token service.
        """
        request: httpx.Request | None = None
        try:
            async with within(self._deadline_seconds / 2), neighbour.clients.client() as client:
                # Not by the `base_url` of httpx, which reads each URL twice.
                request = client.build_request(method, f"{neighbour.url}{path}", **content)
                response = await client.send(request)
        except (httpx.PoolTimeout, SignInError):
            raise
        except (httpx.TransportError, TimeoutError) as error:
            is_sent = request is not None and request.extensions.get(_AT_SERVICE)
            if isinstance(error, TimeoutError) and not is_sent:
                raise SignInUnavailable(
                    self._identity.uid, "the time of the call ended before it had a token"
                ) from error
            outcome.failed()
            raise TryAgain(type(error).__name__) from error
        if response.status_code in _DOWN:
            outcome.failed()
            raise TryAgain(f"status {response.status_code}", after_seconds=_retry_after(response))
        outcome.succeeded()
        return response

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for neighbour in self._product, self._user:
            await neighbour.clients.aclose()
        await self._identity.aclose()


async def _note_sent(request: httpx.Request) -> None:
    """Send the request id, so that it finds a purchase in the logs of all services, and the time that is left.

    From now on the service is waited for. httpx calls this after the token was made, so the time for that has been
    subtracted.
    """
    if request_id := current_request_id():
        request.headers[REQUEST_ID_HEADER] = request_id
    request.headers[DEADLINE_HEADER] = str(max(0, int(remaining_seconds() * 1000)))
    request.extensions[_AT_SERVICE] = True


async def _note_refused(response: httpx.Response) -> None:
    """Note that a token is waited for again, if the service has refused the first one. httpx calls this before that."""
    if response.status_code == httpx.codes.UNAUTHORIZED:
        response.request.extensions[_AT_SERVICE] = False


def _retry_after(response: httpx.Response) -> float:
    lines = response.headers.get_list
    return retry_after_seconds(lines("Retry-After"), lines("Date"), time.time())


def parse(response: httpx.Response, shape: type[Answer], failed: type[NeighbourFailed]) -> Answer:
    """Return the body of the answer as `shape`. Raise `failed` if it is not valid."""
    try:
        return shape.model_validate_json(response.content)
    except ValidationError as error:
        log_failure(failed.service, "invalid answer")
        raise failed from error


def log_failure(service: str, reason: str, *, level: int = logging.ERROR) -> None:
    """Log that a call to `service` failed."""
    log_event(_log, level, "neighbour", f"a call to {service} failed: {reason}", neighbour=service, reason=reason)
