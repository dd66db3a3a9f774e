"""Billing's calls to Product and User, each with a service token of Billing's own, and an end in sight."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationError

from mstoken import ServiceIdentity
from mstoken.errors import SignInRefused, SignInUnavailable
from services.billing.faults import NeighbourFailed, NeighbourUnavailable
from services.billing.settings import BillingSettings
from services.common.middleware import REQUEST_ID_HEADER, current_request_id
from services.common.shapes import Address, Money

TIMEOUT = httpx.Timeout(5.0, connect=2.0)
DEADLINE_SECONDS = 10.0
"""For a whole call with its sign-in: a time-out of httpx begins anew with each piece that arrives."""

_log = logging.getLogger("services.billing.neighbours")
_TRY_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})

Answer = TypeVar("Answer", bound=BaseModel)


class ProductOffer(BaseModel):
    """What Billing needs to know of a product."""

    id: str
    name: str
    price: Money
    stock: int = Field(ge=0)


class Customer(BaseModel):
    """What Billing needs to know of a user."""

    uid: str
    name: str | None
    address: Address | None


class _Offers(BaseModel):
    items: list[ProductOffer]


class Neighbours:
    """Product and User. Every call raises `NeighbourUnavailable` and `NeighbourFailed`. To be used in `async with`."""

    def __init__(
        self,
        settings: BillingSettings,
        identity: ServiceIdentity,
        *,
        transports: Mapping[str, httpx.AsyncBaseTransport] | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """`transports` stand in for the network, by the neighbour's name: "product", "user"."""
        self._identity = identity
        self._deadline_seconds = deadline_seconds
        urls = {"product": settings.product_url, "user": settings.user_url}
        self._clients = {
            name: httpx.AsyncClient(
                base_url=url,
                auth=identity.to(name),
                timeout=TIMEOUT,
                event_hooks={"request": [_pass_on_request_id]},
                transport=(transports or {}).get(name),
            )
            for name, url in urls.items()
        }

    async def offers(self, ids: Collection[str]) -> Mapping[str, ProductOffer]:
        """The products among `ids` (100 at most) that there are, by id."""
        params = {"ids": ",".join(ids), "limit": str(len(ids))}
        response = await self._get("product", "/products", params=params)
        return {offer.id: offer for offer in _parsed("product", response, _Offers).items}

    async def customer(self, uid: str) -> Customer | None:
        """The user, or None for one whom User has never seen."""
        response = await self._get("user", f"/users/{quote(uid, safe='')}", missing_is_an_answer=True)
        return None if response.status_code == httpx.codes.NOT_FOUND else _parsed("user", response, Customer)

    async def _get(
        self, service: str, path: str, *, missing_is_an_answer: bool = False, **request: Any
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                response = await self._clients[service].get(path, **request)
        except (httpx.TransportError, TimeoutError, SignInUnavailable) as error:
            _log.warning("neighbour", extra={"neighbour": service, "fault": type(error).__name__})
            raise NeighbourUnavailable(service) from error
        except SignInRefused as error:
            _log.error("neighbour", extra={"neighbour": service, "fault": error.reason})
            raise NeighbourFailed(service) from error
        if response.is_success or (missing_is_an_answer and response.status_code == httpx.codes.NOT_FOUND):
            return response
        _log.warning("neighbour", extra={"neighbour": service, "fault": f"status {response.status_code}"})
        raise (NeighbourUnavailable if response.status_code in _TRY_LATER else NeighbourFailed)(service)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.aclose()
        await self._identity.aclose()


async def _pass_on_request_id(request: httpx.Request) -> None:
    """So that one id finds a purchase in the logs of all three services."""
    if request_id := current_request_id():
        request.headers[REQUEST_ID_HEADER] = request_id


def _parsed(service: str, response: httpx.Response, shape: type[Answer]) -> Answer:
    try:
        return shape.model_validate_json(response.content)
    except ValidationError as error:
        _log.error("neighbour", extra={"neighbour": service, "fault": "an answer of another shape"})
        raise NeighbourFailed(service) from error
