"""Billing's calls to Product and User, each with a service token of Billing's own, and an end in sight.

A call has a deadline, which goes along with it. Within that it may take a second and a third try, each with a token of
its own, as long as not too many calls need one. A neighbour that does not work is left alone for a while.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from mstoken import ServiceIdentity
from mstoken.errors import SignInRefused, SignInUnavailable
from services.billing.faults import NeighbourFailed, NeighbourUnavailable
from services.billing.settings import BillingSettings
from services.common.breaker import CircuitBreaker, CircuitOpen, Passage
from services.common.deadlines import DEADLINE_HEADER, remaining_seconds, within
from services.common.middleware import REQUEST_ID_HEADER, current_request_id
from services.common.retries import Retries, TryAgain
from services.common.shapes import Address

TIMEOUT = httpx.Timeout(5.0, connect=2.0, pool=2.0)
LIMITS = httpx.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=4.0)
"""For each neighbour. A connection is given up sooner than by uvicorn, which does so after 5 seconds without a request:
one that goes out at that very moment would be lost."""

DEADLINE_SECONDS = 10.0
"""For a whole call, with its sign-ins and all of its tries. A try has half of that: a time-out of httpx would begin
anew with each piece that arrives."""

_log = logging.getLogger("services.billing.neighbours")
_DOWN = frozenset({502, 503, 504})
_TRY_LATER = frozenset({408, 425, 429, 500}) | _DOWN

Answer = TypeVar("Answer", bound=BaseModel)


class Customer(BaseModel):
    """What Billing needs to know of a user."""

    uid: str
    name: str | None
    address: Address | None


@dataclass(frozen=True, slots=True)
class _Neighbour:
    """A service that Billing calls."""

    name: str
    client: httpx.AsyncClient
    breaker: CircuitBreaker
    retries: Retries


class Neighbours:
    """Product and User. Every call raises `NeighbourUnavailable` and `NeighbourFailed`. To be used in `async with`."""

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
        """`transports` stand in for the network, by the neighbour's name: "product", "user"; `clock` and `sleep`, in
        seconds, are what the pauses after failures go by.
        """
        self._identity = identity
        self._deadline_seconds = deadline_seconds
        urls = {"product": settings.product_url, "user": settings.user_url}
        self._neighbours = {
            name: _Neighbour(
                name,
                httpx.AsyncClient(
                    base_url=url,
                    auth=identity.to(name),
                    timeout=TIMEOUT,
                    limits=LIMITS,
                    event_hooks={"request": [_pass_on]},
                    transport=(transports or {}).get(name),
                ),
                CircuitBreaker(name, clock=clock),
                Retries(sleep=sleep),
            )
            for name, url in urls.items()
        }

    async def customer(self, uid: str) -> Customer | None:
        """The user, or None for one whom User has never seen."""
        path = f"/users/{quote(uid, safe='')}"
        response = await self.call("user", "GET", path, answers=(httpx.codes.NOT_FOUND,))
        return None if response.status_code == httpx.codes.NOT_FOUND else parsed("user", response, Customer)

    async def call(
        self, service: str, method: str, path: str, *, answers: Collection[int] = (), **request: Any
    ) -> httpx.Response:
        """What `service` answers to an idempotent request: a success, or one of the statuses `answers`."""
        neighbour = self._neighbours[service]

        async def attempt() -> httpx.Response:
            with neighbour.breaker.passage() as passage:
                return await self._attempt(neighbour.client.build_request(method, path, **request), neighbour, passage)

        try:
            async with within(self._deadline_seconds):
                response = await neighbour.retries.call(attempt)
        except (TryAgain, CircuitOpen, httpx.PoolTimeout, TimeoutError, SignInUnavailable) as error:
            fault = error.reason if isinstance(error, TryAgain) else type(error).__name__
            _log.warning("neighbour", extra={"neighbour": service, "fault": fault})
            raise NeighbourUnavailable(service) from error
        except SignInRefused as error:
            _log.error("neighbour", extra={"neighbour": service, "fault": error.reason})
            raise NeighbourFailed(service) from error
        if response.is_success or response.status_code in answers:
            return response
        _log.warning("neighbour", extra={"neighbour": service, "fault": f"status {response.status_code}"})
        raise (NeighbourUnavailable if response.status_code in _TRY_LATER else NeighbourFailed)(service)

    async def _attempt(self, request: httpx.Request, neighbour: _Neighbour, passage: Passage) -> httpx.Response:
        """One try. Raises `TryAgain` where the neighbour is not there, or says that it cannot work for now.

        A try that ends because whoever asked has no time left is no failure of the neighbour's, nor is one that waited
        for a connection of ours or for Firebase.
        """
        try:
            async with within(self._deadline_seconds / 2):
                response = await neighbour.client.send(request)
        except httpx.PoolTimeout:
            raise
        except (httpx.TransportError, TimeoutError) as error:
            passage.failed()
            raise TryAgain(type(error).__name__) from error
        if response.status_code in _DOWN:
            passage.failed()
            raise TryAgain(f"status {response.status_code}", after_seconds=_retry_after_seconds(response))
        passage.succeeded()
        return response

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for neighbour in self._neighbours.values():
            await neighbour.client.aclose()
        await self._identity.aclose()


async def _pass_on(request: httpx.Request) -> None:
    """Lets one id find a purchase in the logs of all three services, and all three know how long it may take.

    httpx calls this when the token is there: the time that its making took is gone.
    """
    if request_id := current_request_id():
        request.headers[REQUEST_ID_HEADER] = request_id
    request.headers[DEADLINE_HEADER] = str(max(0, int(remaining_seconds() * 1000)))


def _retry_after_seconds(response: httpx.Response) -> float:
    """When the neighbour wants to be asked again (RFC 9110, section 10.2.3). Dates count as no answer."""
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else 0.0


def parsed(service: str, response: httpx.Response, shape: type[Answer]) -> Answer:
    """The answer of `service` in that shape. Raises `NeighbourFailed` where it is of another."""
    try:
        return shape.model_validate_json(response.content)
    except ValidationError as error:
        _log.error("neighbour", extra={"neighbour": service, "fault": "an answer of another shape"})
        raise NeighbourFailed(service) from error
