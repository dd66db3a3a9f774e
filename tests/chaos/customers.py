"""Customers who want what they ordered, whatever happens in between."""

import asyncio
import random
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx

from emulator.run.stack import Stack

ADDRESS = {"name": "A Customer", "line1": "1 Quay", "city": "Cork", "postal_code": "T12", "country": "IE"}
TIMEOUT_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 2.0
TRY_AGAIN = {409, 429, 500, 502, 503, 504}
"""Answers after which the same request may be sent again under its key. 409 is also a sell-out: see `SOLD_OUT`."""
SOLD_OUT = {"out_of_stock", "product_unknown"}


@dataclass
class Seen:
    """What a customer was told: the bill that each idempotency key got, and what was sold out."""

    email: str
    password: str
    bills: dict[str, dict[str, Any]] = field(default_factory=dict)
    delivered_to: set[str] = field(default_factory=set)
    sold_out: int = 0
    odd: list[str] = field(default_factory=list)


class Customer:
    """Somebody who buys until told to stop, and then sees to the order that is under way."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient, number: int, rng: random.Random) -> None:
        self._stack = stack
        self._client = client
        self._rng = rng
        self._token = ""
        self.seen = Seen(f"chaos-{number}-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(12))

    async def sign_up(self) -> None:
        """Before anything is broken."""
        body = {"email": self.seen.email, "password": self.seen.password}
        answer = await self._client.post(f"{self._stack.url('user')}/signup", json=body, timeout=TIMEOUT_SECONDS)
        self._token = answer.raise_for_status().json()["id_token"]

    async def buy_until(self, stop: asyncio.Event, product_ids: list[str]) -> None:
        """Orders one to three products at a time, each order under a key of its own until it has its answer."""
        while not stop.is_set():
            await self._order(product_ids)
            await asyncio.sleep(self._rng.uniform(0, 0.2))

    async def _order(self, product_ids: list[str]) -> None:
        chosen = self._rng.sample(product_ids, self._rng.randint(1, min(3, len(product_ids))))
        order = {"items": [{"product_id": name, "quantity": self._rng.randint(1, 3)} for name in chosen]}
        key = secrets.token_hex(16)
        answer = await self._insist("POST", "/bills", json=order, headers={"Idempotency-Key": key})
        if answer.status_code == httpx.codes.CREATED:
            self.seen.bills[key] = answer.json()
            await self._have_delivered(answer.json()["id"])
        elif answer.json().get("code") in SOLD_OUT:
            self.seen.sold_out += 1
        else:
            self.seen.odd.append(f"POST /bills: {answer.status_code} {answer.text[:300]}")

    async def _have_delivered(self, bill_id: str) -> None:
        answer = await self._insist("POST", f"/bills/{bill_id}/delivery", json={"address": ADDRESS})
        if answer.status_code == httpx.codes.ACCEPTED:
            self.seen.delivered_to.add(bill_id)
        else:
            self.seen.odd.append(f"POST /bills/{bill_id}/delivery: {answer.status_code} {answer.text[:300]}")

    async def bill(self, bill_id: str) -> dict[str, Any] | None:
        """The bill as it is shown now."""
        answer = await self._insist("GET", f"/bills/{bill_id}")
        found: dict[str, Any] | None = answer.json() if answer.is_success else None
        return found

    async def _insist(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The first answer that is one. A crash, a time-out and an outage are none."""
        pause_seconds = 0.05
        while True:
            try:
                headers = {"Authorization": f"Bearer {self._token}", **request.pop("headers", {})}
                request["headers"] = headers
                url = self._stack.url("billing") + path
                answer = await self._client.request(method, url, timeout=TIMEOUT_SECONDS, **request)
                if answer.status_code not in TRY_AGAIN or answer.json().get("code") in SOLD_OUT:
                    return answer
            except (httpx.TransportError, ValueError):
                pass
            await asyncio.sleep(self._rng.uniform(0, pause_seconds))
            pause_seconds = min(LONGEST_PAUSE_SECONDS, pause_seconds * 2)
