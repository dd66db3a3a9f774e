"""Real credentials for attacks: signed in at the emulators as the runner, the services and the users do."""

import secrets
from contextlib import ExitStack
from typing import Self

import httpx
from typing_extensions import override

from emulator.attacks.recorded import RECORDED_PATH, RecordedCall, Victims
from emulator.run.logins import MAYA, Login
from emulator.run.shop_client import anyone
from emulator.run.stack import Stack
from mstoken import ServiceIdentity
from mstoken.cli.identities import Identities
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER, Mode


class SignedInVictims(Victims):
    """Signs in as the services and users of a stack. Tokens stay in memory. Use it with `with`.

    The process must use the stack's Auth emulator (`use_emulator`).
    """

    def __init__(self, stack: Stack, customer: Login = MAYA) -> None:
        self._stack = stack
        self._customer = customer
        self._open = ExitStack()
        self._identities: dict[str, ServiceIdentity] = {}
        self._user_token: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    @override
    def billing_call(self, mode: Mode) -> RecordedCall:
        request = httpx.Request("GET", self._stack.base_url("product") + RECORDED_PATH)
        headers = next(self._identity("billing").to("product", mode=mode).sync_auth_flow(request)).headers
        return RecordedCall(headers[SERVICE_TOKEN_HEADER], headers.get(PROOF_HEADER))

    @override
    def user_token(self) -> str:
        if self._user_token is None:
            body = {"email": self._customer.email, "password": self._customer.password}
            with anyone(self._stack) as client:
                self._user_token = str(client.call("POST", "user", "/login", 200, json=body)["id_token"])
        return self._user_token

    @override
    def token_of(self, service: str) -> str:
        return self._identity(service).token_sync("product", new=True)

    @override
    def disabled_token(self) -> str:
        # A new name each time: what a callee knows of an identity is up to 10 s old.
        name = f"intern-{secrets.token_hex(4)}"
        with ServiceIdentity(name, self._stack.settings) as identity:
            token = identity.token_sync("product", new=True)
        Identities(self._stack.settings).disable(name)
        return token

    def _identity(self, service: str) -> ServiceIdentity:
        if service not in self._identities:
            identity = ServiceIdentity(service, self._stack.settings)
            self._identities[service] = self._open.enter_context(identity)
        return self._identities[service]
