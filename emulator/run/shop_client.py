"""The shop as its users see it: the three services over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from emulator.run.errors import Unexpected
from emulator.run.logins import Login
from emulator.run.stack import Stack

TIMEOUT_SECONDS = 15.0


class ShopClient:
    """Somebody who uses the shop. Methods raise Unexpected when a service does not answer as it should."""

    def __init__(self, stack: Stack, http: httpx.Client) -> None:
        self._stack = stack
        self._http = http

    def become(self, id_token: str) -> None:
        """Sends a user's ID token with every call from now on."""
        self._http.headers["Authorization"] = f"Bearer {id_token}"

    def call(self, method: str, service: str, path: str, status: int, **request: Any) -> Any:
        """Sends a request and returns the JSON that comes back with that status."""
        where = f"{method} {path} at {service}"
        try:
            answer = self._http.request(method, self._stack.url(service) + path, **request)
        except httpx.TransportError as error:
            raise Unexpected(f"{where} got no answer ({type(error).__name__}).") from error
        if answer.status_code != status:
            raise Unexpected(f"{where} answered {answer.status_code}, not {status}: {answer.text}")
        return answer.json()

    def products(self) -> Iterator[dict[str, Any]]:
        """The whole catalogue, page by page."""
        cursor = ""
        while True:
            page = self.call("GET", "product", f"/products?limit=100{cursor}", 200)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={quote(page['next_cursor'])}"


@contextmanager
def anyone(stack: Stack) -> Iterator[ShopClient]:
    """A client for somebody who is not logged in."""
    with httpx.Client(timeout=TIMEOUT_SECONDS) as http:
        yield ShopClient(stack, http)


@contextmanager
def logged_in(stack: Stack, login: Login) -> Iterator[ShopClient]:
    """A client for a user, logged in at the User service. Raises Unexpected when that fails."""
    body = {"email": login.email, "password": login.password}
    with anyone(stack) as client:
        client.become(client.call("POST", "user", "/login", 200, json=body)["id_token"])
        yield client
