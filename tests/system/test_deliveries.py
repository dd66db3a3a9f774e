"""Deliveries from request to arrival: Billing, its task queue, the function `deliver`, and back to Billing."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typing_extensions import override

from emulator.demo.calls import first_accepted_call
from emulator.demo.purchase import ADDRESS, buy, wait_for_delivery
from emulator.run.catalogue import add_catalogue
from emulator.run.logins import MAYA
from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.shop_client import ShopClient, logged_in
from emulator.run.stack import Stack
from services.common.ids import new_id
from tests.waiting import wait_until

pytestmark = [pytest.mark.process, pytest.mark.slow]

LEASE_SECONDS = 30.0
"""How long the lease of a killed process stops others from taking over its delivery."""
TIMEOUT_SECONDS = 60


class Shop:
    """The services on the emulators' own ports, where the function `deliver` finds Billing. A test may kill Billing."""

    def __init__(self, emulators: Stack, data: Path) -> None:
        self.stack = replace(emulators, data=data)
        self.emulator_log = emulators.log("emulators")
        self._supervisor = Supervisor()
        self._billing = Supervisor()
        try:
            for service in ("user", "product"):
                self.stack.start_service(self._supervisor, service)
            self.start_billing()
            add_catalogue(self.stack)
        except BaseException:
            self.stop()
            raise

    def start_billing(self, **other_ports: int) -> None:
        self._billing = Supervisor()
        replace(self.stack, ports=replace(self.stack.ports, **other_ports)).start_service(self._billing, "billing")

    def kill_billing(self) -> None:
        [process] = self._billing.processes
        process.popen.kill()
        process.exited.wait()

    def hand_to_the_function(self, data: object) -> httpx.Response:
        """Send a task to `deliver` as its queue does. Return the answer."""
        return httpx.post(self.stack.function_url("deliver"), json={"data": data}, timeout=TIMEOUT_SECONDS)

    def lines_with(self, text: str) -> int:
        """Return how many lines in the log of the emulators have the text."""
        return sum(text in line for line in self.emulator_log.read_text().splitlines())

    def stop(self) -> None:
        self._billing.stop()
        self._supervisor.stop()


@pytest.fixture(scope="module")
def shop(emulators: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with the demo catalogue."""
    shop = Shop(emulators, tmp_path_factory.mktemp("shop"))
    yield shop
    shop.stop()


@pytest.fixture
def customer(shop: Shop) -> Iterator[ShopClient]:
    """A customer of the shop."""
    with logged_in(shop.stack, MAYA) as client:
        yield client


def request_delivery(customer: ShopClient) -> dict[str, Any]:
    """Get a bill and request its delivery. Return the delivery, which is in its first status."""
    product = next(customer.products())
    items = {"items": [{"product_id": product["id"], "quantity": 1}]}
    key = {"Idempotency-Key": secrets.token_hex(16)}
    bill = customer.call("POST", "billing", "/bills", 201, json=items, headers=key)
    path = f"/bills/{bill['id']}/delivery"
    delivery: dict[str, Any] = customer.call("POST", "billing", path, 202, json={"address": ADDRESS})
    assert delivery["status"] == "requested"
    return delivery


def test_a_delivery_arrives(shop: Shop) -> None:
    """The function carries out a delivery. It reports to Billing as `svc:delivery`, with a fresh token."""
    assert buy(shop.stack).delivery["status"] == "delivered"
    call = first_accepted_call(shop.stack, "svc:delivery", "billing")
    assert call.audience == "billing"
    assert call.age_seconds is not None
    assert call.age_seconds < 60
    # No log contains the token that it signed in with, or the token that it sent.
    assert "eyJ" not in shop.emulator_log.read_text()


def test_a_delivery_survives_a_crash_of_billing(shop: Shop, customer: ShopClient) -> None:
    """If Billing is killed before the task is in the queue, the delivery arrives once Billing runs again."""
    shop.kill_billing()
    shop.start_billing(tasks=Ports.shifted(free_offset()).tasks)
    delivery = request_delivery(customer)
    shop.kill_billing()
    shop.start_billing()
    wait_for_delivery(customer, delivery["bill_id"], LEASE_SECONDS + TIMEOUT_SECONDS)


def test_a_task_that_arrives_twice(shop: Shop, customer: ShopClient) -> None:
    """A task that arrives again does not change the delivery."""
    delivery = wait_for_delivery(customer, request_delivery(customer)["bill_id"])
    answer = shop.hand_to_the_function({"delivery_id": delivery["id"]})
    assert (answer.status_code, answer.json()) == (200, {"result": "done"})
    assert wait_for_delivery(customer, delivery["bill_id"]) == delivery


@pytest.mark.parametrize(
    "data",
    [
        {"delivery_id": new_id()},
        {"delivery_id": "../bills"},
        {"delivery_id": new_id() + "\n"},
        {"delivery_id": 7},
        {"delivery_id": None},
        {},
        "a delivery",
        None,
    ],
)
def test_a_task_without_a_valid_delivery_is_dropped(shop: Shop, data: object) -> None:
    """A task without a valid delivery id, or for an unknown delivery, is dropped and not sent again."""
    before = shop.lines_with("dropped")
    answer = shop.hand_to_the_function(data)
    assert (answer.status_code, answer.json()) == (200, {"result": "dropped"})
    # firebase-tools may write what a function has logged after the answer of the function.
    wait_until(lambda: shop.lines_with("dropped") > before)


class NotFound(BaseHTTPRequestHandler):
    """A server that has no deliveries: it answers every POST with 404."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(404)

    @override
    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


def test_a_task_fails_while_billing_cannot_be_reached(shop: Shop, customer: ShopClient) -> None:
    """While Billing is down, or another server has its port, a task fails, so that the queue sends it again."""
    delivery = wait_for_delivery(customer, request_delivery(customer)["bill_id"])
    shop.kill_billing()
    for delivery_id in (delivery["id"], new_id()):
        assert shop.hand_to_the_function({"delivery_id": delivery_id}).status_code == 500
    with HTTPServer((HOST, shop.stack.ports.billing), NotFound) as another:
        threading.Thread(target=another.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        assert shop.hand_to_the_function({"delivery_id": delivery["id"]}).status_code == 500
        another.shutdown()
    shop.start_billing()
    assert shop.hand_to_the_function({"delivery_id": delivery["id"]}).status_code == 200
