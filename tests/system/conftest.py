"""A shop that runs in processes, with users, for the tests in this folder."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.run.logins import Login
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.shop_client import logged_in
from emulator.run.stack import SERVICES, Stack
from mstoken.callee.replay.sqlite_file import SpentIdFile
from mstoken.wire import Mode
from tests.waiting import WAIT_SECONDS


def _running(emulators: Stack, data: Path, workers: int, mode: Mode) -> Iterator[Stack]:
    stack = emulators.beside(Ports.shifted(free_offset()), data, workers=workers, mode=mode)
    supervisor = Supervisor()
    begin_memory_of_spent_ids(stack)
    try:
        stack.start_services(supervisor)
        yield stack
    finally:
        supervisor.stop()


def begin_memory_of_spent_ids(stack: Stack) -> None:
    """Make the stores of spent ids as they are an hour after the first start: they accept older tokens and proofs."""
    for service in SERVICES:
        path = stack.data / f"{service}-spent.db"
        SpentIdFile(path, wait_seconds=1, clock=lambda: time.time() - 3600).create()


@pytest.fixture(scope="session")
def stack(emulators: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three services, one process each, in fresh mode."""
    yield from _running(emulators, tmp_path_factory.mktemp("stack"), workers=1, mode="fresh")


@pytest.fixture(scope="session")
def stack_of_workers(emulators: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three services, two worker processes each, in proof mode."""
    yield from _running(emulators, tmp_path_factory.mktemp("stack-of-workers"), workers=2, mode="proof")


@pytest.fixture(params=["stack", "stack_of_workers"])
def either_stack(request: pytest.FixtureRequest) -> Stack:
    """The three services: with one process each in fresh mode, and with two each in proof mode."""
    stack: Stack = request.getfixturevalue(request.param)
    return stack


@pytest.fixture
def sign_up(stack: Stack) -> Callable[[str], Login]:
    """Signs up a new customer with a given name."""

    def sign_up_as(name: str) -> Login:
        login = Login("customer", name, f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(12))
        body = {"email": login.email, "password": login.password, "displayName": name}
        # At Firebase itself, because /signup allows 30 new accounts an hour for one address.
        httpx.post(
            f"{stack.settings.identity_toolkit_url}/accounts:signUp?key=any", json=body, timeout=WAIT_SECONDS
        ).raise_for_status()
        return login

    return sign_up_as


@pytest.fixture
def customer(sign_up: Callable[[str], Login]) -> Login:
    """A customer."""
    return sign_up("Wanda Okoro")


@pytest.fixture
def stranger(sign_up: Callable[[str], Login]) -> Login:
    """Another customer."""
    return sign_up("Piet de Boer")


@pytest.fixture
def admin(stack: Stack, sign_up: Callable[[str], Login]) -> Login:
    """An administrator: a user whose custom claim `role` was set with the Auth emulator's admin API."""
    login = sign_up("Ines Carvalho")
    accounts = f"http://{stack.auth_host}/identitytoolkit.googleapis.com/v1/projects/{stack.project}/accounts"
    owner = {"Authorization": "Bearer owner"}
    found = httpx.post(f"{accounts}:lookup", json={"email": [login.email]}, headers=owner, timeout=WAIT_SECONDS).json()
    change = {"localId": found["users"][0]["localId"], "customAttributes": '{"role":"admin"}'}
    httpx.post(f"{accounts}:update", json=change, headers=owner, timeout=WAIT_SECONDS).raise_for_status()
    return replace(login, role="administrator")


@pytest.fixture
def offer(admin: Login) -> Callable[[Stack], dict[str, Any]]:
    """Adds a product to a shop as an administrator, and returns the product."""

    def offer_product(stack: Stack) -> dict[str, Any]:
        price = {"amount": 1999, "currency": "USD"}
        product = {"name": "Tea pot", "description": "It holds tea.", "price": price, "stock": 100}
        with logged_in(stack, admin) as client:
            added: dict[str, Any] = client.call("POST", "product", "/products", 201, json=product)
        return added

    return offer_product
