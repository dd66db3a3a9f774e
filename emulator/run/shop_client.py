"""A client of the shop, as its users see it: the three services over HTTP."""

import time
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
    """A user of the shop. The methods raise Unexpected if a service does not answer as expected."""

    def __init__(self, stack: Stack, http: httpx.Client) -> None:
        self._stack = stack
        self._http = http

    def use_token(self, id_token: str) -> None:
        """Send a user's ID token with every call from now on."""
        self._http.headers["Authorization"] = f"Bearer {id_token}"

    def call(
        self, method: str, service: str, path: str, status: int, *, patience_seconds: float = 0, **request: Any
    ) -> Any:
        """Send a request. Return the JSON of the answer, whose status must be `status`.

        For `patience_seconds`, a request is sent again when its answer asks for that (`Retry-After`).
        """
        where = f"{method} {path} at {service}"
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                answer = self._http.request(method, self._stack.url(service) + path, **request)
            except httpx.TransportError as error:
                raise Unexpected(f"{where} got no answer ({type(error).__name__}).") from error
            pause = answer.headers.get("Retry-After")
            if pause is None or time.monotonic() + int(pause) > deadline:
                break
            time.sleep(int(pause))
        if answer.status_code != status:
            raise Unexpected(f"{where} was answered with {answer.status_code} instead of {status}: {answer.text}")
        return answer.json()

    def products(self) -> Iterator[dict[str, Any]]:
        """Iterate over the whole catalogue, page by page."""
        cursor = ""
        while True:
            page = self.call("GET", "product", f"/products?limit=100{cursor}", 200)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={quote(page['next_cursor'])}"


@contextmanager
def anyone(stack: Stack) -> Iterator[ShopClient]:
    """Open a client that is not logged in."""
    with httpx.Client(timeout=TIMEOUT_SECONDS) as http:
        yield ShopClient(stack, http)


@contextmanager
def logged_in(stack: Stack, login: Login) -> Iterator[ShopClient]:
    """Open a client that is logged in as a user. Raises Unexpected if that fails."""
    body = {"email": login.email, "password": login.password}
    with anyone(stack) as client:
        client.use_token(client.call("POST", "user", "/login", 200, json=body)["id_token"])
        yield client
