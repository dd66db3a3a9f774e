"""Customers who insist on an answer to each order, and an administrator who changes prices meanwhile."""

import asyncio
import base64
import json
import random
import secrets
import time
from typing import Any

import httpx

from emulator.run.stack import Stack
from tests.chaos.audit import is_final
from tests.chaos.record import HOME, Exchange, Record, Revision

ELSEWHERE = HOME | {"name": "A Friend", "city": "Galway"}
TIMEOUT_SECONDS = 40.0
"""Longer than any service may take: without an answer by then, the service hangs."""
MAX_PAUSE_SECONDS = 1.0


class Client:
    """A user of the shop. Every request and its answer is recorded."""

    def __init__(self, stack: Stack, http: httpx.AsyncClient, record: Record, rng: random.Random, token: str) -> None:
        self._stack = stack
        self._http = http
        self._record = record
        self._rng = rng
        self._headers = {"Authorization": f"Bearer {token}"}
        self.uid = str(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["sub"])

    async def insist(
        self, service: str, operation: str, *, sent: Any = None, key: str | None = None, **parts: str
    ) -> Exchange:
        """Send a request until its answer is final, and return the last exchange. `parts` are those of the path."""
        pause_seconds = 0.05
        while not is_final(exchange := await self._exchange(service, operation, sent, key, parts)):
            await asyncio.sleep(self._rng.uniform(0, pause_seconds))
            pause_seconds = min(MAX_PAUSE_SECONDS, pause_seconds * 2)
        return exchange

    async def _exchange(
        self, service: str, operation: str, sent: Any, key: str | None, parts: dict[str, str]
    ) -> Exchange:
        method, template = operation.split(" ")
        path = template.format(**parts)
        sent_at = time.monotonic()
        status, headers = None, httpx.Headers()
        try:
            answer = await self._http.request(
                method,
                self._stack.url(service) + path,
                json=sent,
                headers=self._headers | ({} if key is None else {"Idempotency-Key": key}),
                timeout=TIMEOUT_SECONDS,
            )
            status, headers, text = answer.status_code, answer.headers, answer.text
        except httpx.TransportError as error:
            text = repr(error)
        exchange = Exchange(
            self.uid, service, operation, path, sent_at, time.monotonic(), status, dict(headers), text, sent, key
        )
        self._record.exchanges.append(exchange)
        return exchange


class Customer(Client):
    """Buys, reads what was bought, and has it delivered."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._orders: dict[str, Any] = {}
        self._bills: list[str] = []
        self._delivered: list[str] = []

    async def buy_until(self, stop: asyncio.Event) -> None:
        """Buy without end, and finish what is under way when told to stop."""
        while not stop.is_set():
            await self.buy()
            await asyncio.sleep(self._rng.uniform(0, 0.2))

    async def buy(self) -> None:
        """Order one to three products under a new key; perhaps repeat that, read the bill, and have it delivered."""
        products = self._record.catalogue.on_offer
        chosen = self._rng.sample(products, self._rng.randint(1, 3))
        if self._chance(0.3):
            await self.insist("product", "GET /products/{product_id}", product_id=chosen[0])
        key = secrets.token_hex(16)
        self._orders[key] = {"items": [{"product_id": name, "quantity": self._rng.randint(1, 3)} for name in chosen]}
        answer = await self._order(key)
        if self._chance(0.3):
            await self._order(key)
        if answer.status != httpx.codes.CREATED:
            return
        bill_id = answer.content["id"]
        self._bills.append(bill_id)
        if self._chance(0.5):
            await self._have_delivered(bill_id)
        if self._chance(0.3):
            await self._read(bill_id)
        if self._chance(0.2):
            await self.insist("billing", "GET /bills")

    async def ask_again(self, limit: int) -> None:
        """Repeat up to `limit` orders, and read as many bills and deliveries, now that nothing is broken."""
        for key in self._some(list(self._orders), limit):
            await self._order(key)
        for bill_id in self._some(self._bills, limit):
            await self._read(bill_id)
        for bill_id in self._delivered:
            await self.insist("billing", "GET /bills/{bill_id}/delivery", bill_id=bill_id)
        await self.insist("billing", "GET /bills")

    async def _order(self, key: str) -> Exchange:
        return await self.insist("billing", "POST /bills", sent=self._orders[key], key=key)

    async def _have_delivered(self, bill_id: str) -> None:
        sent = {"address": ELSEWHERE} if self._chance(0.5) else None
        await self.insist("billing", "POST /bills/{bill_id}/delivery", sent=sent, bill_id=bill_id)
        self._delivered.append(bill_id)
        await self.insist("billing", "GET /bills/{bill_id}/delivery", bill_id=bill_id)

    async def _read(self, bill_id: str) -> None:
        await self.insist("billing", "GET /bills/{bill_id}", bill_id=bill_id)
        await self.insist("billing", "GET /bills/{bill_id}/invoice", bill_id=bill_id)

    def _some(self, values: list[str], limit: int) -> list[str]:
        return self._rng.sample(values, min(limit, len(values)))

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability


class Administrator(Client):
    """Changes the names and prices of products."""

    async def change_prices_until(self, stop: asyncio.Event) -> None:
        """Give a product a new name and price, again and again."""
        catalogue = self._record.catalogue
        while not stop.is_set():
            product_id = self._rng.choice(catalogue.on_offer)
            revisions = catalogue.revisions[product_id]
            name = f"{revisions[0].name}, revision {len(revisions)}"
            amount = revisions[0].amount + len(revisions)
            # Possible from now on; when it is certain is known with the answer.
            revisions.append(Revision(name, amount, time.monotonic(), float("inf")))
            sent = {"name": name, "price": {"amount": amount, "currency": catalogue.currency[product_id]}}
            done = await self.insist("product", "PATCH /products/{product_id}", sent=sent, product_id=product_id)
            revisions[-1] = Revision(name, amount, revisions[-1].sent_at, done.ended_at)
            await asyncio.sleep(self._rng.uniform(0, 0.5))
