"""Real credentials for attacks: signed in at the emulators as the runner, the services and the users do."""

import secrets
import time

import httpx
from typing_extensions import override

from emulator.attacks.recorded import RECORDED_PATH, RecordedCall, Victims
from emulator.run.logins import MAYA, Login
from emulator.run.shop_client import anyone
from emulator.run.stack import Stack
from mstoken import ServiceIdentity
from mstoken.cli.identities import Identities
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER, Mode

LOGGED_IN_SECONDS = 1800.0
"""How long a user's token is used, in seconds. It lives for an hour."""


class SignedInVictims(Victims):
    """Signs in as the services and users of a stack. Tokens stay in memory.

    It signs in anew for each call of a service, because nothing counts that was minted before the service was enabled.
    The process must use the stack's Auth emulator (`use_emulator`).
    """

    def __init__(self, stack: Stack, customer: Login = MAYA) -> None:
        self._stack = stack
        self._customer = customer
        self._user_token: str | None = None
        self._log_in_again_at = 0.0

    @override
    def billing_call(self, mode: Mode) -> RecordedCall:
        request = httpx.Request("GET", self._stack.base_url("product") + RECORDED_PATH)
        with ServiceIdentity("billing", self._stack.settings) as billing:
            headers = next(billing.to("product", mode=mode).sync_auth_flow(request)).headers
        return RecordedCall(headers[SERVICE_TOKEN_HEADER], headers.get(PROOF_HEADER))

    @override
    def user_token(self) -> str:
        if self._user_token is None or time.monotonic() > self._log_in_again_at:
            body = {"email": self._customer.email, "password": self._customer.password}
            with anyone(self._stack) as client:
                self._user_token = str(client.call("POST", "user", "/login", 200, json=body)["id_token"])
            self._log_in_again_at = time.monotonic() + LOGGED_IN_SECONDS
        return self._user_token

    @override
    def token_of(self, service: str) -> str:
        with ServiceIdentity(service, self._stack.settings) as identity:
            return identity.token_sync("product", new=True)

    @override
    def disabled_token(self) -> str:
        # A new name each time: what a callee knows of an identity is up to 10 s old.
        name = f"intern-{secrets.token_hex(4)}"
        with ServiceIdentity(name, self._stack.settings) as identity:
            token = identity.token_sync("product", new=True)
        Identities(self._stack.settings).disable(name)
        return token
