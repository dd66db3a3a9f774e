"""Two processes of each service, in proof mode, on PostgreSQL and Redis, behind a round-robin load balancer."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.demo.calls import log_lines
from emulator.demo.purchase import ADDRESS, wait_for_delivery
from emulator.run.logins import ADMIN, MAYA
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.shop_client import TIMEOUT_SECONDS, ShopClient, logged_in
from emulator.run.stack import SERVICES, Stack
from mstoken import ServiceIdentity
from mstoken.wire import Mode
from tests.backing import BackedStack, backing
from tests.mstoken.test_settings import environment
from tests.postgresql import PostgresServer
from tests.redis_server import RedisServer
from tests.system.round_robin import RoundRobin
from tests.waiting import wait_until

pytestmark = [pytest.mark.process, pytest.mark.slow]

RACERS = 50
DELIVERIES = 20


class Several:
    """The shop at the load balancers' ports, and the two stacks behind them."""

    def __init__(self, stack: Stack, behind: list[BackedStack]) -> None:
        self.stack = stack
        self.behind = behind

    def handed_over(self) -> Counter[str]:
        """Return how often each delivery was put into the queue, by the logs of both processes of Billing."""
        lines = [line for stack in self.behind for line in log_lines(stack, "billing")]
        return Counter(
            line["delivery_id"] for line in lines if line.get("event") == "hand_over" and "reason" not in line
        )


@pytest.fixture(scope="module")
def several(
    emulators: Stack,
    tmp_path_factory: pytest.TempPathFactory,
    postgresql: PostgresServer,
    redis_server: RedisServer,
) -> Iterator[Several]:
    folder = tmp_path_factory.mktemp("several")
    # The balancers listen on the emulators' own ports: the function `deliver` reports to Billing there.
    front = replace(emulators, data=folder / "front", mode="proof")
    supervisor, balancers = Supervisor(), list[RoundRobin]()
    variables = backing(postgresql, redis_server)
    try:
        behind = [_started(front, variables, folder / name, supervisor) for name in ("one", "two")]
        for service in SERVICES:
            ports = [getattr(stack.ports, service) for stack in behind]
            balancers.append(RoundRobin(getattr(front.ports, service), ports))
        yield Several(front, behind)
    finally:
        for balancer in balancers:
            balancer.stop()
        supervisor.stop()


def _started(front: Stack, variables: dict[str, dict[str, str]], folder: Path, supervisor: Supervisor) -> BackedStack:
    """Start services that call the load balancers, and that use the emulators of `front`. Return their stack."""
    neighbours = {"USER_URL": front.url("user"), "PRODUCT_URL": front.url("product")}
    # In 20 s, the time of a laptop, twenty deliveries may not arrive on a busy machine, and each is handed over again.
    queue = {"CLOUD_TASKS_EMULATOR_HOST": f"127.0.0.1:{front.ports.tasks}", "DELIVERY_PATIENCE_SECONDS": "600"}
    stack = BackedStack(
        Ports.shifted(free_offset()),
        folder,
        project=front.project,
        emulator_host=front.auth_host,
        emulator_ports=front.ports,
        mode=front.mode,
        backing={
            service: variables[service] | neighbours | queue | {"MSTOKEN_BASE_URL": front.url(service)}
            for service in SERVICES
        },
    )
    # The balancers need not be there yet: services call each other only when a customer orders.
    stack.start_services(supervisor)
    return stack


@pytest.fixture
def customer(several: Several) -> Iterator[ShopClient]:
    with logged_in(several.stack, MAYA) as client:
        yield client


@pytest.fixture
def id_token(several: Several) -> str:
    """The customer's ID token from another session."""
    body = {"email": MAYA.email, "password": MAYA.password}
    answer = httpx.post(f"{several.stack.url('user')}/login", json=body, timeout=TIMEOUT_SECONDS)
    return str(answer.json()["id_token"])


@pytest.fixture(scope="module")
def product(several: Several) -> dict[str, Any]:
    thing = {"name": "Thing", "description": "", "price": {"amount": 100, "currency": "USD"}, "stock": 1000}
    with logged_in(several.stack, ADMIN) as admin:
        added: dict[str, Any] = admin.call("POST", "product", "/products", 201, json=thing)
    return added


async def race(url: str, method: str, headers: dict[str, str], **request: Any) -> list[httpx.Response]:
    """Send equal requests at the same time, each on a connection of its own. Return the answers."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_SECONDS) as client:
        calls = (client.request(method, url, headers=headers, **request) for _ in range(RACERS))
        return await asyncio.gather(*calls)


def headers_of_billing(several: Several, url: str, mode: Mode) -> dict[str, str]:
    """Return the headers that Billing would send with one call of Product."""
    with (
        environment(FIREBASE_AUTH_EMULATOR_HOST=several.stack.auth_host),
        ServiceIdentity("billing", several.stack.settings) as identity,
    ):
        headers = next(identity.to("product", mode).sync_auth_flow(httpx.Request("GET", url))).headers
    return {name: headers[name] for name in ("X-MS-TOKEN", "DPoP") if name in headers}


@pytest.mark.parametrize(("mode", "code"), [("fresh", "token_replayed"), ("proof", "proof_replayed")])
async def test_a_replay_is_refused_by_either_process(several: Several, mode: Mode, code: str) -> None:
    """Of 50 requests with one token, or with one proof, over both processes, exactly one is served."""
    url = f"{several.stack.url('product')}/products"
    headers = await asyncio.to_thread(headers_of_billing, several, url, mode)
    codes = Counter(answer.json().get("code", "served") for answer in await race(url, "GET", headers))
    assert codes == {"served": 1, code: RACERS - 1}
    assert all(any(line.get("verdict") for line in log_lines(stack, "product")) for stack in several.behind)


async def test_one_key_makes_one_bill_over_both_processes(
    several: Several, customer: ShopClient, id_token: str, product: dict[str, Any]
) -> None:
    """Of 50 equal orders with one idempotency key at the same time there is one bill. The others get it, or 409."""
    key = {"Idempotency-Key": secrets.token_hex(8)}
    order = {"items": [{"product_id": product["id"], "quantity": 1}]}
    headers = key | {"Authorization": f"Bearer {id_token}"}
    answers = await race(f"{several.stack.url('billing')}/bills", "POST", headers, json=order)
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    assert {customer.call("POST", "billing", "/bills", 201, json=order, headers=key)["id"]} == made


def test_a_delivery_is_handed_over_by_one_process(
    several: Several, customer: ShopClient, product: dict[str, Any]
) -> None:
    """Both processes empty the outbox. Each delivery is put into the queue once, and arrives."""
    deliveries, bills = set(), []
    for _ in range(DELIVERIES):
        items = {"items": [{"product_id": product["id"], "quantity": 1}]}
        key = {"Idempotency-Key": secrets.token_hex(8)}
        bill = customer.call("POST", "billing", "/bills", 201, json=items, headers=key)
        path = f"/bills/{bill['id']}/delivery"
        deliveries.add(customer.call("POST", "billing", path, 202, json={"address": ADDRESS})["id"])
        bills.append(bill["id"])
    for bill_id in bills:
        wait_for_delivery(customer, bill_id)
    # A process writes its line when the queue has answered, and the delivery may arrive before that.
    wait_until(lambda: deliveries <= several.handed_over().keys())
    handed_over = several.handed_over()
    assert {name: handed_over[name] for name in deliveries} == dict.fromkeys(deliveries, 1)
