"""Requests that never end, sent to the running Product service."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from emulator.attacks import wire
from emulator.run.stack import Stack
from tests.waiting import WAIT_SECONDS

MIB = 2**20
PIECE_BYTES = 16 * 1024
ATTACKERS = 4
HEADERS = 20
MAX_WAIT_SECONDS = 0.1
MAX_CPU_SECONDS = 0.05
GET = b"GET /products HTTP/1.1\r\nHost: product\r\n"
CHUNKED = GET + b"Transfer-Encoding: chunked\r\n\r\n"
FILL = b"a" * PIECE_BYTES

ENDLESS = {
    "a request line": (b"GET /", FILL),
    "the value of a header": (GET + b"X-Fill: ", FILL),
    "the name of a header": (GET, FILL),
    "header lines": (GET, b"X-Fill: a\r\n" * (PIECE_BYTES // 11)),
    "an extension of a chunk": (CHUNKED + b"1;", FILL),
    "the value of a trailer": (CHUNKED + b"0\r\nX-Fill: ", FILL),
    "trailer lines": (CHUNKED + b"0\r\n", b"X-Fill: a\r\n" * (PIECE_BYTES // 11)),
}
"""What never ends -> the beginning of a request, and what is sent after it again and again."""


@pytest.mark.parametrize("what", ENDLESS)
def test_an_endless_request_ends_the_connection(target: Stack, what: str) -> None:
    """The service ends the connection before 1 MiB is sent."""
    assert wire.send_without_end(target.ports.product, *ENDLESS[what], limit=MIB) < MIB


def attack(port: int) -> None:
    """Send one header without end after the other, each on a new connection that must end before 1 MiB."""
    for _ in range(HEADERS):
        assert wire.send_without_end(port, *ENDLESS["the value of a header"], limit=MIB) < MIB


def longest_wait_seconds(target: Stack) -> float:
    """Return the longest time that a call of /healthz waits for its answer while several attacks go on."""
    waits = []
    with (
        ThreadPoolExecutor(ATTACKERS) as pool,
        httpx.Client(base_url=target.url("product"), timeout=WAIT_SECONDS) as client,
    ):
        attacks = [pool.submit(attack, target.ports.product) for _ in range(ATTACKERS)]
        while not all(future.done() for future in attacks):
            started_at = time.perf_counter()
            client.get("/healthz").raise_for_status()
            waits.append(time.perf_counter() - started_at)
        for future in attacks:
            future.result()
    return max(waits)


def test_endless_headers_do_not_delay_other_clients(target: Stack) -> None:
    """While headers without end are sent on several connections, no call of /healthz waits for 100 ms.

    One measurement of ten is enough, because the other work of the machine delays calls too.
    """
    assert any(longest_wait_seconds(target) < MAX_WAIT_SECONDS for _ in range(10))


@pytest.mark.parametrize("what", ENDLESS)
def test_no_endless_request_needs_much_processor_time(
    target: Stack, what: str, product_cpu_seconds: Callable[[], float]
) -> None:
    """It is at most 50 ms: the least of three measurements, because they count the other work of the process too."""
    costs = []
    for _ in range(3):
        before = product_cpu_seconds()
        wire.send_without_end(target.ports.product, *ENDLESS[what], limit=16 * MIB)
        costs.append(product_cpu_seconds() - before)
    assert min(costs) <= MAX_CPU_SECONDS
