"""The Billing service between the real Product and User services."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from mstoken.testing import FakeFirebase
from services.billing.app import MIGRATIONS, create_app
from services.billing.neighbours import Neighbours
from services.billing.settings import BillingSettings
from services.product.app import MIGRATIONS as PRODUCT_MIGRATIONS
from services.product.app import create_app as create_product
from services.product.settings import ProductSettings
from services.user.app import MIGRATIONS as USER_MIGRATIONS
from services.user.app import create_app as create_user
from services.user.settings import UserSettings
from tests.clock import MovableTime, no_sleep
from tests.services.billing.fakes import FakeQueue
from tests.services.conftest import NewDatabase
from tests.services.shop import BASE_URL, KETTLE, FixedTransport, answered, serving
from tests.services.user.fakes import SETTINGS, FakeProject


class SwitchableTransport(httpx.AsyncBaseTransport):
    """A network to an app that records all requests. While `outcome` is set, requests go to it instead of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self.transport = httpx.ASGITransport(app=app)
        self.outcome: httpx.AsyncBaseTransport | None = None
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return await (self.outcome or self.transport).handle_async_request(request)

    def answers_with(self, outcome: httpx.Response | Exception) -> None:
        """From now on, every request gets this answer, or raises this error."""
        self.outcome = FixedTransport(outcome)


class LateApp:
    """An app that is made and started by its first request, and stopped at the end of the block.

    Few tests need the User service, and to make an app takes longer than most tests.
    """

    def __init__(self, make: Callable[[], FastAPI]) -> None:
        self._make = make
        self._app: FastAPI | None = None
        self._lock = asyncio.Lock()
        self._running = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._lock:
            if self._app is None:
                app = self._make()
                await self._running.enter_async_context(app.router.lifespan_context(app))
                self._app = app
        await self._app(scope, receive, send)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._running.aclose()


@dataclass
class Shop:
    """Three services and their customers."""

    billing: httpx.AsyncClient
    product: httpx.AsyncClient
    user: httpx.AsyncClient
    to_product: SwitchableTransport
    to_user: SwitchableTransport
    firebase: FakeFirebase
    maya: dict[str, str]
    tomas: dict[str, str]
    admin: dict[str, str]
    queue: FakeQueue
    time: MovableTime
    another_billing: Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
    another_product: Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
    """Start another process of the service, on the same database."""
    keys: int = field(default=0)

    async def offer(self, **changes: Any) -> dict[str, Any]:
        """Add a product as an administrator, and return it."""
        body = KETTLE | changes
        added: dict[str, Any] = answered(await self.product.post("/products", json=body, headers=self.admin), 201)
        return added

    async def order(
        self, *items: tuple[str, int], by: dict[str, str] | None = None, key: str | None = None
    ) -> httpx.Response:
        """Request a bill, and return Billing's answer. Without `key`, the request has a new key."""
        self.keys += 1
        headers = (by or self.maya) | {"Idempotency-Key": key or f"key-{self.keys}"}
        body = {"items": [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items]}
        return await self.billing.post("/bills", json=body, headers=headers)

    async def bill(self, **changes: Any) -> dict[str, Any]:
        """Return a bill of Maya for one kettle."""
        made: dict[str, Any] = answered(await self.order(((await self.offer(**changes))["id"], 1)), 201)
        return made

    async def stock_of(self, product: dict[str, Any]) -> int:
        """Return how many of a product can still be bought."""
        stock: int = answered(await self.product.get(f"/products/{product['id']}", headers=self.maya))["stock"]
        return stock

    async def bills(self, viewer: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the bills that Maya, or another viewer, sees."""
        items: list[dict[str, Any]] = answered(
            await self.billing.get("/bills", params={"limit": "100"}, headers=viewer or self.maya)
        )["items"]
        return items


@pytest.fixture
def schema() -> Path | None:
    """Databases have Billing's tables."""
    return MIGRATIONS


@pytest.fixture
async def shop(new_database: NewDatabase, firebase: FakeFirebase) -> AsyncIterator[Shop]:
    """A shop in which nothing was sold yet."""
    async with open_shop(new_database, firebase) as shop:
        yield shop


@asynccontextmanager
async def open_shop(
    new_database: NewDatabase, firebase: FakeFirebase, *, deadline_seconds: float = 5.0
) -> AsyncIterator[Shop]:
    """Open a shop in which nothing was sold yet. Billing's calls to other services end after `deadline_seconds`."""

    def create_billing() -> FastAPI:
        settings = BillingSettings(database_url=databases["billing"], product_url=BASE_URL, user_url=BASE_URL)
        neighbours = Neighbours(
            settings,
            firebase.identity("billing"),
            transports={"product": to_product, "user": to_user},
            deadline_seconds=deadline_seconds,
            clock=lambda: float(next(ticks)),
            sleep=no_sleep,
        )
        verifier = firebase.verifier("billing")
        return create_app(settings, verifier=verifier, neighbours=neighbours, queue=queue, clock=time)

    def create_product_service() -> FastAPI:
        settings = ProductSettings(database_url=databases["product"])
        return create_product(settings, verifier=firebase.verifier("product"), clock=time)

    def create_user_service() -> FastAPI:
        return create_user(
            UserSettings(database_url=new_database(USER_MIGRATIONS)),
            firebase=SETTINGS,
            verifier=firebase.verifier("user"),
            sessions=project,
            transport=project.transport(),
        )

    schemas = {"product": PRODUCT_MIGRATIONS, "billing": MIGRATIONS}
    databases = {service: new_database(schema) for service, schema in schemas.items()}
    queue, time = FakeQueue(), MovableTime()
    ticks = count(step=60)
    project = FakeProject(firebase)
    product = create_product_service()
    user = LateApp(create_user_service)
    to_product, to_user = SwitchableTransport(product), SwitchableTransport(user)
    async with (
        serving(product) as to_the_product,
        user,
        httpx.AsyncClient(transport=httpx.ASGITransport(app=user), base_url=BASE_URL) as to_the_user,
        serving(create_billing()) as to_billing,
    ):
        yield Shop(
            to_billing,
            to_the_product,
            to_the_user,
            to_product,
            to_user,
            firebase,
            maya=firebase.user_headers("maya", email="maya@example.com", name="Maya Lindgren"),
            tomas=firebase.user_headers("tomas"),
            admin=firebase.user_headers("ines", role="admin"),
            queue=queue,
            time=time,
            another_billing=lambda: serving(create_billing()),
            another_product=lambda: serving(create_product_service()),
        )
