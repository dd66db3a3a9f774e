"""The demo's attempt to use one service token twice."""

from typing import Any

from emulator.errors import Unexpected
from emulator.shop_client import anyone
from emulator.stack import Stack
from mstoken import ServiceIdentity
from mstoken.errors import SignInError


def try_replay(stack: Stack) -> dict[str, Any]:
    """Signs in as Billing, sends Product the token twice, and returns the second answer, a refusal.

    Raises Unexpected unless the first is served and the second is refused as replayed.
    """
    identity = ServiceIdentity("billing", stack.settings)
    try:
        headers = {"X-MS-TOKEN": identity.token_sync("product")}
    except SignInError as error:
        raise Unexpected(f"Signing in as svc:billing failed: {error}") from error
    with anyone(stack) as client:
        client.call("GET", "product", "/products?limit=1", 200, headers=headers)
        refusal: dict[str, Any] = client.call("GET", "product", "/products?limit=1", 401, headers=headers)
    if refusal["code"] != "token_replayed":
        raise Unexpected(f"Product refused a token's second use with {refusal['code']}, not token_replayed.")
    return refusal
