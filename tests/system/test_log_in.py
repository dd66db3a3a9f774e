"""Log-ins at a running User service, by an owner and by strangers who try passwords."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.shop_client import TIMEOUT_SECONDS
from emulator.run.stack import Stack

GUESSES = 110
STRANGER = "127.0.0.7"
"""Another address of this machine. On Linux all of 127.0.0.0/8 are."""


@pytest.fixture
def user(emulators: Stack, tmp_path: Path) -> Iterator[Stack]:
    """A User service of its own with two processes, so that no other test feels its limits."""
    stack = emulators.beside(Ports.shifted(free_offset()), tmp_path, workers=2)
    supervisor = Supervisor()
    try:
        stack.start_service(supervisor, "user")
        yield stack
    finally:
        supervisor.stop()


async def guess(
    stack: Stack, emails: Callable[[int], str], headers: Callable[[int], dict[str, str]], address: str | None = None
) -> Counter[int]:
    """Try wrong passwords at the same time. Return how often each status was answered."""
    limits = httpx.Limits(max_keepalive_connections=0)
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=limits)
    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT_SECONDS) as client:
        url = f"{stack.url('user')}/login"
        bodies = [{"email": emails(number), "password": "wrong-password"} for number in range(GUESSES)]
        requests = (client.post(url, json=body, headers=headers(number)) for number, body in enumerate(bodies))
        return Counter(answer.status_code for answer in await asyncio.gather(*requests))


async def test_made_up_addresses_have_limits(user: Stack) -> None:
    """A client that names another address in each request is limited by the address of its connection."""
    statuses = await guess(
        user,
        lambda number: f"{number}-{secrets.token_hex(4)}@example.com",
        lambda number: {"X-Forwarded-For": f"203.0.113.{number}"},
    )
    assert statuses == {401: 100, 429: GUESSES - 100}


async def test_a_stranger_does_not_keep_the_owner_out(user: Stack) -> None:
    """While a stranger is slowed down, the owner logs in at a network where the account was logged in to before."""
    owner = {"email": f"{secrets.token_hex(8)}@example.com", "password": secrets.token_urlsafe(12)}
    async with httpx.AsyncClient(base_url=user.url("user"), timeout=TIMEOUT_SECONDS) as client:
        assert (await client.post("/signup", json=owner)).status_code == 201
        assert await guess(user, lambda _: owner["email"], lambda _: {}, STRANGER) == {401: 10, 429: GUESSES - 10}
        assert (await client.post("/login", json=owner)).status_code == 200
