"""The demo's attempts to come in with what does not count: a call sent twice, and what is forged."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from emulator.local.keys import Key
from emulator.run.errors import Unexpected
from emulator.run.shop_client import ShopClient, anyone
from emulator.run.stack import Stack
from mstoken import ServiceIdentity
from mstoken.errors import SignInError
from mstoken.strict_jwt import base64url
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER

PATH = "/products?limit=1"
OTHER_PATH = "/products/another"


@dataclass(frozen=True)
class CallResult:
    """What was sent to Product, and what came back."""

    sent: str
    status: int
    code: str


def try_calls(stack: Stack) -> list[CallResult]:
    """Signs in as Billing, calls Product as it would, and then as somebody would who has seen or guessed the call.

    Raises Unexpected unless the first is served, and the others are refused for what they are.
    """
    with anyone(stack) as client, ServiceIdentity("billing", stack.settings) as billing:
        try:
            good, another = (_headers(billing, stack.url("product")) for _ in range(2))
        except SignInError as error:
            raise Unexpected(f"Signing in as svc:billing failed: {error}") from error
        forged = another | {SERVICE_TOKEN_HEADER: _forged(another[SERVICE_TOKEN_HEADER])}
        attempts = [
            _attempt(client, f"a call of svc:billing, {stack.mode}", PATH, good, 200, "served"),
            _attempt(client, "the same again", PATH, good, 401, f"{_spent(stack)}_replayed"),
            _attempt(client, "a token perfect but for its signature", PATH, forged, 401, "token_untrusted"),
        ]
        if stack.mode == "proof":
            stolen = {SERVICE_TOKEN_HEADER: another[SERVICE_TOKEN_HEADER]}
            attempts += [
                _attempt(client, "a call that was seen, to another path", OTHER_PATH, another, 401, "proof_invalid"),
                _attempt(client, "its token alone", PATH, stolen, 401, "proof_missing"),
            ]
        return attempts


def _headers(billing: ServiceIdentity, product_url: str) -> dict[str, str]:
    """What Billing would send with its next call."""
    request = next(billing.to("product").sync_auth_flow(httpx.Request("GET", product_url + PATH)))
    names = (SERVICE_TOKEN_HEADER, PROOF_HEADER)
    return {name: request.headers[name] for name in names if name in request.headers}


def _attempt(
    client: ShopClient, sent: str, path: str, headers: Mapping[str, str], status: int, code: str
) -> CallResult:
    answer = client.call("GET", "product", path, status, headers=dict(headers))
    came_back = answer.get("code", "served")
    if came_back != code:
        raise Unexpected(f"Product answered {sent} with {came_back}, not {code}.")
    return CallResult(sent, status, code)


def _spent(stack: Stack) -> str:
    """What a call spends."""
    return "token" if stack.mode == "fresh" else "proof"


def _forged(token: str) -> str:
    """The same token, signed with a key of our own under the name of the published one."""
    signed = token.rpartition(".")[0]
    return f"{signed}.{base64url(Key().sign(signed.encode()))}"
