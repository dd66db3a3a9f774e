"""Requests whose bodies are announced and never sent completely, against each of the running services."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from emulator.run.logins import ADMIN, MAYA
from emulator.run.ports import HOST
from emulator.run.shop_client import logged_in
from emulator.run.stack import SERVICES, Stack

CONNECTIONS = 500
PATHS = {"user": "/login", "product": "/reservations", "billing": "/bills"}
ANSWER_SECONDS = 12.0
"""How long a half-sent body may wait for its refusal: 5 s, and time for a slow machine."""
PROBE_SECONDS = 1.0


@contextmanager
def half_sent(stack: Stack, service: str) -> Iterator[list[socket.socket]]:
    """Open connections, and send on each a request without the end of its body."""
    head = f"POST {PATHS[service]} HTTP/1.1\r\nHost: {service}\r\nContent-Type: application/json\r\n"
    with ExitStack() as connections:
        opened = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection((HOST, getattr(stack.ports, service)), timeout=ANSWER_SECONDS)
            connections.enter_context(connection)
            connection.sendall(f'{head}Content-Length: 1000\r\n\r\n{{"email": "'.encode())
            opened.append(connection)
        yield opened


@pytest.fixture
def product(target: Stack) -> dict[str, Any]:
    """A product that customers can buy."""
    offer = {"name": "Tea pot", "description": "", "price": {"amount": 1999, "currency": "USD"}, "stock": 100}
    with logged_in(target, ADMIN) as admin:
        added: dict[str, Any] = admin.call("POST", "product", "/products", 201, json=offer)
    return added


@pytest.mark.parametrize("service", SERVICES)
def test_half_sent_bodies_leave_a_purchase_working(target: Stack, product: dict[str, Any], service: str) -> None:
    """While 500 half-sent bodies are open, a customer logs in and buys something, and the probe answers quickly.

    Each of the 500 is refused with 408 after its time, and its connection is closed.
    """
    with half_sent(target, service) as connections:
        assert httpx.get(f"{target.url(service)}/healthz", timeout=PROBE_SECONDS).status_code == 200
        with logged_in(target, MAYA) as customer:
            body = {"items": [{"product_id": product["id"], "quantity": 1}]}
            key = {"Idempotency-Key": secrets.token_hex(16)}
            bill = customer.call("POST", "billing", "/bills", 201, json=body, headers=key)
            assert bill["total"] == product["price"]
        answers = [connection.recv(65536) for connection in connections]
    assert {answer.split(b"\r\n", 1)[0] for answer in answers} == {b"HTTP/1.1 408 Request Timeout"}
    assert all(b"connection: close" in answer.lower() for answer in answers)


@pytest.mark.parametrize("service", SERVICES)
def test_a_body_with_two_lengths_is_refused(target: Stack, service: str) -> None:
    """A body that `Content-Length` denies and `Transfer-Encoding` announces has the limits of others: it is refused.

    The server reads nothing else on the connection (RFC 9112, section 6.1).
    """
    lines = ("Host: shop", "Content-Length: 0", "Transfer-Encoding: chunked", "Content-Type: application/json")
    head = "\r\n".join((f"POST {PATHS[service]} HTTP/1.1", *lines))
    with socket.create_connection((HOST, getattr(target.ports, service)), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(f"{head}\r\n\r\n5\r\nab".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"body_unreadable"' in answer
