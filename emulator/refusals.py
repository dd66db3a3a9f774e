"""The demo's attempts to come in with a token that does not count."""

import base64
from dataclasses import dataclass

from emulator.errors import Unexpected
from emulator.shop_client import ShopClient, anyone
from emulator.signed_auth import Key
from emulator.stack import Stack
from mstoken import ServiceIdentity
from mstoken.errors import SignInError


@dataclass(frozen=True)
class Attempt:
    """What was sent to Product, and what came back."""

    sent: str
    status: int
    code: str


def try_tokens(stack: Stack) -> list[Attempt]:
    """Signs in as Billing, and sends Product a good token, the same again, and one that is forged.

    Raises Unexpected unless the first is served, and the others are refused for what they are.
    """
    with anyone(stack) as client, ServiceIdentity("billing", stack.settings) as billing:
        try:
            token, another = billing.token_sync("product"), billing.token_sync("product")
        except SignInError as error:
            raise Unexpected(f"Signing in as svc:billing failed: {error}") from error
        return [
            _attempt(client, "a fresh token of svc:billing", token, 200, "served"),
            _attempt(client, "the same token again", token, 401, "token_replayed"),
            _attempt(client, "a token perfect but for its signature", _forged(another), 401, "token_untrusted"),
        ]


def _attempt(client: ShopClient, sent: str, token: str, status: int, code: str) -> Attempt:
    answer = client.call("GET", "product", "/products?limit=1", status, headers={"X-MS-TOKEN": token})
    came_back = answer.get("code", "served")
    if came_back != code:
        raise Unexpected(f"Product answered {sent} with {came_back}, not {code}.")
    return Attempt(sent, status, code)


def _forged(token: str) -> str:
    """The same token, signed with a key of our own under the name of the published one."""
    signed = token.rpartition(".")[0]
    return f"{signed}.{base64.urlsafe_b64encode(Key().sign(signed.encode())).rstrip(b'=').decode()}"
